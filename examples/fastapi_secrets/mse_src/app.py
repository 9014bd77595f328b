"""Signs messages with a key that nobody outside the enclave learns.

The key and the callers' token come from the file at SECRETS_PATH, which its owner sent to the
enclave after having verified it. Neither is in the code, and no answer contains them.
"""

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field


class Secrets(BaseModel):
    """The content of `secrets.json`."""

    signing_key: str = Field(pattern="^[0-9a-f]{64}$")
    api_token: str = Field(min_length=16)


class Message(BaseModel):
    message: str = Field(max_length=100_000)


class Signed(Message):
    signature: str = Field(max_length=64)


def load_secrets() -> Secrets:
    return Secrets(**json.loads(Path(os.environ["SECRETS_PATH"]).read_text(encoding="utf-8")))


# Read once, at the start: without its secrets the application must not run at all.
secrets = load_secrets()
app = FastAPI(title="Message signing", docs_url=None, redoc_url=None)


def authenticated(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    if credentials is None:
        raise HTTPException(401, "send the header `Authorization: Bearer TOKEN`")
    # Compared in constant time: the time must not tell how much of a guess was right.
    if not hmac.compare_digest(credentials.credentials.encode(), secrets.api_token.encode()):
        raise HTTPException(403, "this token is not accepted")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/sign", dependencies=[Depends(authenticated)])
async def sign(body: Message) -> Signed:
    return Signed(message=body.message, signature=signature_of(body.message))


@app.post("/verify")
async def verify(body: Signed) -> dict[str, bool]:
    expected = signature_of(body.message)
    return {"valid": hmac.compare_digest(expected.encode(), body.signature.encode())}


def signature_of(message: str) -> str:
    key = bytes.fromhex(secrets.signing_key)
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()
