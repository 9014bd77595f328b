"""The smallest Flask application: what is measured is the way to it."""

from flask import Flask

app = Flask(__name__)


@app.get("/health")
def health() -> str:
    return "OK"


@app.get("/")
def hello() -> str:
    return "Hello world"
