"""Writes the clickstream as a history table, a Delta table or a folder of one Parquet file, with other people's code.

Reads a JSON object from standard input: {"csv": path, "shift_ms": n, "where": SQL over user_id, session_id, event, ts and i
(the event's number in the order of time), "uri": where to, "format": "Delta" | "Parquet", "mode": "overwrite" | "append",
"storage": {option: value}, "properties": {name: value}, "columns": {name: SQL in place of it or beside it}}. Prints
{"rows": n, "version": v}.
"""
import json
import sys

import deltalake
import pyarrow.parquet

from events import connect


def main():
    request = json.load(sys.stdin)
    db = connect(request)
    columns = {name: name for name in ["user_id", "session_id", "event"]} | {"ts": "make_timestamptz(ts * 1000)"}
    columns |= request.get("columns", {})
    select = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    table = db.sql(f"SELECT {select} FROM events ORDER BY events.ts").to_arrow_table()
    version = None
    if request["format"] == "Delta":
        deltalake.write_deltalake(
            request["uri"],
            table,
            mode=request.get("mode", "overwrite"),
            # A column that became NULL altogether, or another that is new, is still the table's.
            schema_mode="overwrite" if request.get("columns") else None,
            storage_options=request.get("storage"),
        )
        opened = deltalake.DeltaTable(request["uri"], storage_options=request.get("storage"))
        if request.get("properties"):
            opened.alter.set_table_properties(request["properties"], raise_if_not_exists=False)
        version = opened.version()
    else:
        pyarrow.parquet.write_table(table, f"{request['uri']}/part-0.parquet")
    json.dump({"rows": table.num_rows, "version": version}, sys.stdout)


main()
