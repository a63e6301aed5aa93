"""The clickstream's file as a DuckDB table `events`: user_id, session_id, event, ts (milliseconds), i."""
import duckdb


def connect(request):
    """A connection with the table. `i` numbers events by time, those of one time by their place in the file."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute(
        """CREATE TABLE events AS
        SELECT user_id, session_id, event, ts, (row_number() OVER (ORDER BY ts, line)) - 1 AS i
        FROM (SELECT *, epoch_ms(timestamp) + ? AS ts, row_number() OVER () AS line FROM read_csv(?))""",
        [request["shift_ms"], request["csv"]],
    )
    if "where" in request:
        db.execute(f"DELETE FROM events WHERE NOT ({request['where']})")
    return db
