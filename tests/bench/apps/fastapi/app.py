"""The smallest FastAPI application: what is measured is the way to it."""

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/health", response_class=PlainTextResponse)
async def health() -> str:
    return "OK"


@app.get("/", response_class=PlainTextResponse)
async def hello() -> str:
    return "Hello world"
