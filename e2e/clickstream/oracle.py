"""The independent calculation: the features of examples/clickstream, by DuckDB, from the file.

Reads a JSON object from standard input: {"csv": path, "shift_ms": n, "reads": [["user_0001", as_of_ms], ...],
"where": which events there are, SQL over user_id, session_id, event, ts and i (optional)}.
Writes a JSON list: for each read, {feature: value}. It shares nothing with the engine: no tiles, no lanes, only
"count the rows between two times". The bounds are those the design page promises: [floor(t - W, hop), ceil(t, 1 min)).
"""
import json
import sys

from events import connect

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WINDOWS = {"1h": (HOUR, MINUTE), "24h": (24 * HOUR, 15 * MINUTE), "7d": (7 * DAY, HOUR), "30d": (30 * DAY, 6 * HOUR)}
COUNTS = {"views": "product_view", "carts": "add_to_cart", "purchases": "purchase", "searches": "search"}


def inside(window):
    length, hop = WINDOWS[window]
    return f"ts >= ((as_of - {length}) // {hop}) * {hop} AND ts < ((as_of + {MINUTE - 1}) // {MINUTE}) * {MINUTE}"


def columns():
    for window in WINDOWS:
        for name, event in COUNTS.items():
            yield f"{name}_{window}", f"count(*) FILTER (WHERE event = '{event}' AND {inside(window)})"
        yield f"sessions_{window}", f"count(DISTINCT session_id) FILTER (WHERE {inside(window)})"
    # Events of one millisecond are ordered by their text, as the engine orders them by their bytes.
    yield "last_event", f"(max({{'ts': ts, 'event': event}}) FILTER (WHERE {inside('30d')})).event"
    yield "last_seen", f"max(ts) FILTER (WHERE {inside('30d')})"
    # Whether the user had been seen at all: a server knows no others.
    yield "_known", f"count(*) FILTER (WHERE ts < ((as_of + {MINUTE - 1}) // {MINUTE}) * {MINUTE})"


def main():
    request = json.load(sys.stdin)
    db = connect(request)
    db.execute("CREATE TABLE reads (i INTEGER, user_id VARCHAR, as_of BIGINT)")
    reads = [(i, user, as_of) for i, (user, as_of) in enumerate(request["reads"])]
    db.execute(
        "INSERT INTO reads SELECT unnest($1::INTEGER[]), unnest($2::VARCHAR[]), unnest($3::BIGINT[])",
        [[r[0] for r in reads], [r[1] for r in reads], [r[2] for r in reads]],
    )
    named = list(columns())
    select = ", ".join(f"{sql} AS {name}" for name, sql in named)
    base = f"SELECT reads.i AS i, {select} FROM reads LEFT JOIN events USING (user_id) GROUP BY reads.i, as_of"
    derived = """SELECT *, purchases_30d / nullif(views_30d, 0) AS conversion_30d,
        purchases_7d * 10 + carts_7d * 2 + views_7d AS preference_7d,
        purchases_30d * 10 + carts_30d * 2 + views_30d AS preference_30d"""
    result = db.execute(f"{derived} FROM ({base}) ORDER BY i")
    names = [d[0] for d in result.description]
    json.dump([dict(zip(names, row)) for row in result.fetchall()], sys.stdout)


main()
