"""Reads a Delta table with other people's code.

Reads a JSON object from standard input: {"uri": where it is, "storage": {option: value}}. Prints a JSON list: for each row,
{column: value}, times as milliseconds, and what JSON has no word for as Python's text.
"""
import datetime
import json
import sys

import deltalake


def plain(value):
    return round(value.timestamp() * 1000) if isinstance(value, datetime.datetime) else value


def main():
    request = json.load(sys.stdin)
    table = deltalake.DeltaTable(request["uri"], storage_options=request.get("storage")).to_pyarrow_table()
    json.dump([{name: plain(value) for name, value in row.items()} for row in table.to_pylist()], sys.stdout, default=str)


main()
