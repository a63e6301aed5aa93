"""What the batch worker is measured against: the same features and the same training set, by DuckDB and by Polars.

    yardstick.py generate | features-duckdb | features-polars | training-duckdb | compare   < request.json

Reads a JSON object from standard input and prints one: {"seconds": s, "peak_mib": m, …}. Seconds count from before the
engine is opened to the last byte written; Python's own start does not count. It shares nothing with the engine.

A request has: folder (of Parquet files with user VARCHAR, amount DOUBLE, ts TIMESTAMP_MS), out (where the answer goes), threads,
memory_mib (what DuckDB may use), windows: [[name, first ms, end ms], …] absolute bounds of a batch, half-open.
"""
import json
import os
import resource
import sys
import time

FUNCTIONS = ["count", "sum", "avg", "stddev", "min", "max"]
DAY = 86_400_000


def connect(request):
    import duckdb

    db = duckdb.connect()
    db.execute(f"SET threads = {request['threads']}")
    db.execute(f"SET memory_limit = '{request['memory_mib']}MiB'")
    db.execute(f"SET temp_directory = '{request['temp']}'")
    db.execute("SET preserve_insertion_order = false")
    db.execute("SET TimeZone = 'UTC'")
    return db


def generate(request):
    """Events in order of time over `days` days up to `last` ms, and questions: of a million entities some have many events.
    Every column is a hash of the row's number, so that the data are the same on every machine."""
    db = connect(request)
    rows, files, entities = request["events"], request["files"], request["entities"]
    first = request["last"] - request["days"] * DAY
    for file in range(files):
        a, b = rows * file // files, rows * (file + 1) // files
        db.execute(f"""COPY (
            SELECT {user('i', entities)} AS user, (hash(i + 1000000007) % 50000) / 100.0::DOUBLE AS amount,
                epoch_ms({first} + i * {request["days"] * DAY} // {rows}) AS ts
            FROM range({a}, {b}) t(i)
        ) TO '{request["out"]}/events/part-{file:03}.parquet' (ROW_GROUP_SIZE 500000, COMPRESSION zstd)""")
    db.execute(f"""COPY (
        SELECT {user('i * 7919', entities)} AS user, epoch_ms({first} + CAST(hash(i + 31) % {request["days"] * DAY} AS BIGINT)) AS asked, i AS label
        FROM range({request["asks"]}) t(i)
    ) TO '{request["out"]}/asks/part-000.parquet' (COMPRESSION zstd)""")
    return {}


def user(of, entities):
    # The square of a number in [0, 1) makes some entities busy and leaves none without events.
    return f"'user-' || lpad(CAST(CAST({entities} * pow((hash({of}) >> 11) / 9007199254740992.0, 2) AS BIGINT) % {entities} AS VARCHAR), 8, '0')"


def features_duckdb(request):
    db = connect(request)
    named = []
    for name, first, end in request["windows"]:
        inside = f"FILTER (WHERE t >= {first} AND t < {end})"
        for function in FUNCTIONS:
            of = {"count": "count(*)", "stddev": "stddev_samp(amount)"}.get(function, f"{function}(amount)")
            named.append(f"{of} {inside} AS {function}_{name}")
    first = min(first for _, first, _ in request["windows"])
    end = max(end for _, _, end in request["windows"])
    db.execute(f"""COPY (
        SELECT user, {", ".join(named)} FROM (SELECT user, amount, epoch_ms(ts) AS t FROM '{request["folder"]}/*.parquet')
        WHERE t >= {first} AND t < {end} GROUP BY user
    ) TO '{request["out"]}' (COMPRESSION zstd)""")
    return {"rows": db.execute(f"SELECT count(*) FROM '{request['out']}'").fetchone()[0]}


def features_polars(request):
    os.environ["POLARS_MAX_THREADS"] = str(request["threads"])
    import polars as pl

    amount, t = pl.col("amount"), pl.col("ts").dt.epoch("ms")
    named = []
    for name, first, end in request["windows"]:
        inside = (t >= first) & (t < end)
        some = amount.filter(inside)
        named += [
            inside.sum().alias(f"count_{name}"), some.sum().alias(f"sum_{name}"), some.mean().alias(f"avg_{name}"),
            some.std().alias(f"stddev_{name}"), some.min().alias(f"min_{name}"), some.max().alias(f"max_{name}"),
        ]
    first = min(first for _, first, _ in request["windows"])
    end = max(end for _, _, end in request["windows"])
    events = pl.scan_parquet(f"{request['folder']}/*.parquet").filter((t >= first) & (t < end))
    events.group_by("user").agg(named).sink_parquet(request["out"], engine="streaming")
    return {"rows": pl.scan_parquet(request["out"]).select(pl.len()).collect().item()}


def training_duckdb(request):
    """The features of each question as they were at its time, end exclusive: the bounds depend on the question."""
    db = connect(request)
    named = []
    longest = 0
    for name, length, hop in request["relative"]:
        inside = f"FILTER (WHERE t >= ((asked - {length}) // {hop}) * {hop})"
        longest = max(longest, length + hop)
        for function in FUNCTIONS:
            of = {"count": "count(t)", "stddev": "stddev_samp(amount)"}.get(function, f"{function}(amount)")
            named.append(f"{of} {inside} AS {function}_{name}")
    db.execute(f"""COPY (
        SELECT user, asked, label, {", ".join(named)}
        FROM (SELECT user, epoch_ms(asked) AS asked, label FROM '{request["asks"]}/*.parquet') a
        LEFT JOIN (SELECT user AS of, amount, epoch_ms(ts) AS t FROM '{request["folder"]}/*.parquet') e
        ON user = of AND t < asked AND t >= asked - {longest}
        GROUP BY user, asked, label
    ) TO '{request["out"]}' (COMPRESSION zstd)""")
    return {"rows": db.execute(f"SELECT count(*) FROM '{request['out']}'").fetchone()[0]}


def compare(request):
    """How many rows of `ours` differ from `theirs`, joined by `keys`; doubles by 1e-9 of their size."""
    db = connect(request)
    columns = [f"{function}_{window}" for window in request["names"] for function in FUNCTIONS]
    keys = ", ".join(request["keys"])

    def differs(column):
        a, b = f"a.{column}", f"b.{column}"
        if column.startswith("count"):
            return f"coalesce({a}, 0) <> coalesce({b}, 0)"
        # No value and the sum of nothing are told apart by neither side.
        return f"(({a} IS NULL) <> ({b} IS NULL) AND coalesce({a}, {b}) <> 0) OR abs({a} - {b}) > 1e-9 * greatest(1, abs({b}))"

    wrong = " OR ".join(f"({differs(column)})" for column in columns)
    # A row that one side lacks is one whose events are all too old.
    longest = f"count_{request['names'][-1]}"
    lacking = f"(a.rowid_ IS NULL AND b.{longest} > 0) OR (b.rowid_ IS NULL AND a.{longest} > 0)"
    rows, differ, lack = db.execute(f"""
        SELECT count(*), count(*) FILTER (WHERE a.rowid_ IS NOT NULL AND b.rowid_ IS NOT NULL AND ({wrong})),
            count(*) FILTER (WHERE {lacking})
        FROM (SELECT *, 1 AS rowid_ FROM read_parquet({request["ours"]}, hive_partitioning = false)) a
        FULL JOIN (SELECT *, 1 AS rowid_ FROM '{request["theirs"]}') b USING ({keys})""").fetchone()
    return {"rows": rows, "values": rows * len(columns), "differ": differ, "lacking": lack}


def main():
    request = json.load(sys.stdin)
    commands = {
        "generate": generate, "features-duckdb": features_duckdb, "features-polars": features_polars,
        "training-duckdb": training_duckdb, "compare": compare,
    }
    started = time.perf_counter()
    answer = commands[sys.argv[1]](request)
    answer["seconds"] = time.perf_counter() - started
    answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    json.dump(answer, sys.stdout)


main()
