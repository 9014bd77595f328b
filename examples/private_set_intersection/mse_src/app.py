"""A bank and an insurer look for the customers they have in common.

Each uploads its table. Each gets the rows whose key is in both tables, with the columns that were
agreed on and no others. Neither sees the rest of the other's table, and nothing is written to a
file: the tables live in the enclave's memory until both parties have asked to start over, or the
enclave stops.

What was agreed on is in AGREEMENT below. The parties read this file and let `mse verify` show
that it is what runs; then they upload.
"""

import csv
import hashlib
import hmac
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

KEY = "customer_id"

# What each party shows of a customer that the other has as well.
AGREEMENT = {"bank": ["risk"], "insurer": ["claims"]}

MAX_UPLOAD = 8 * 1024 * 1024
MAX_ROWS = 100_000

Row = dict[str, str]


@dataclass
class Session:
    """What the parties have sent. Handlers change it without awaiting in between, so each sees it
    whole."""

    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    wish_to_reset: set[str] = field(default_factory=set)

    def is_complete(self) -> bool:
        return self.tables.keys() == AGREEMENT.keys()


def load_token_hashes() -> dict[str, str]:
    """The hash of each party's token. Whoever deploys this application knows no token, and so
    cannot take part in a party's name."""
    secrets = json.loads(Path(os.environ["SECRETS_PATH"]).read_text(encoding="utf-8"))
    hashes: dict[str, str] = secrets["token_sha256"]
    if hashes.keys() != AGREEMENT.keys():
        raise ValueError(f"`token_sha256` must have one hash for each of {sorted(AGREEMENT)}")
    return hashes


token_hashes = load_token_hashes()
session = Session()
app = FastAPI(title="Private set intersection", docs_url=None, redoc_url=None)


def authenticated_party(
    party: str,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> str:
    if credentials is None:
        raise HTTPException(401, "send the header `Authorization: Bearer TOKEN`")
    given = hashlib.sha256(credentials.credentials.encode()).hexdigest()
    # The same answer for a wrong token and a wrong name: it tells a guesser nothing.
    if not hmac.compare_digest(given, token_hashes.get(party, "")):
        raise HTTPException(403, "no party has this name and token")
    return party


Party = Annotated[str, Depends(authenticated_party)]


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.put("/parties/{party}/table")
async def upload(party: Party, request: Request) -> dict[str, int]:
    table = parse_table(party, await read_bounded(request), request.headers.get("content-type", ""))
    # Who may upload again after a result could try one list after the other until it has found
    # out which keys the other party holds.
    if session.is_complete():
        raise HTTPException(409, "both tables are in, so neither can be replaced: start over together")
    session.tables[party] = table
    session.wish_to_reset.clear()
    return {"rows": len(table)}


@app.get("/parties/{party}/result")
async def result(party: Party) -> dict[str, list[Row]]:
    missing = sorted(AGREEMENT.keys() - session.tables.keys())
    if missing:
        raise HTTPException(409, f"there is no result before every table is in: {missing} missing")
    return {"rows": intersection(session.tables)}


@app.post("/parties/{party}/reset")
async def reset(party: Party) -> dict[str, Any]:
    """Forgets all tables once every party has asked for it."""
    session.wish_to_reset.add(party)
    waiting_for = sorted(AGREEMENT.keys() - session.wish_to_reset)
    if not waiting_for:
        session.tables.clear()
        session.wish_to_reset.clear()
    return {"reset": not waiting_for, "waiting_for": waiting_for}


def intersection(tables: dict[str, dict[str, Row]]) -> list[Row]:
    keys = set.intersection(*(set(table) for table in tables.values()))
    return [
        {KEY: key}
        | {
            f"{party}.{column}": tables[party][key][column]
            for party, columns in AGREEMENT.items()
            for column in columns
        }
        # Sorted: the order of a set or of an upload would tell something about the rest.
        for key in sorted(keys)
    ]


async def read_bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_UPLOAD:
            raise HTTPException(413, f"the table is larger than {MAX_UPLOAD} bytes")
    return bytes(body)


def parse_table(party: str, body: bytes, content_type: str) -> dict[str, Row]:
    """The agreed columns of a CSV table or of a JSON list of objects, by key. Other columns are
    dropped here: what is not needed is not kept."""
    try:
        text = body.decode("utf-8-sig")
        match content_type.partition(";")[0].strip():
            case "text/csv":
                rows: Any = list(csv.DictReader(io.StringIO(text), strict=True))
            case "application/json":
                rows = json.loads(text)
            case other:
                raise HTTPException(415, f"content type `{other}`: send text/csv or application/json")
    except (ValueError, csv.Error, RecursionError) as error:
        raise HTTPException(422, f"the table cannot be read: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise HTTPException(422, "the table must be a list of objects")
    if not 0 < len(rows) <= MAX_ROWS:
        raise HTTPException(422, f"the table has {len(rows)} rows: 1 to {MAX_ROWS} are accepted")

    columns = [KEY, *AGREEMENT[party]]
    table: dict[str, Row] = {}
    for number, row in enumerate(rows, start=1):
        for column in columns:
            if row.get(column) in (None, ""):
                raise HTTPException(422, f"row {number} has no `{column}`")
        key = str(row[KEY]).strip()
        if key in table:
            raise HTTPException(422, f"row {number}: its `{KEY}` has occurred before")
        table[key] = {column: str(row[column]) for column in AGREEMENT[party]}
    return table
