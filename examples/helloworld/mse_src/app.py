"""The smallest application that MSE runs."""

from flask import Flask

app = Flask(__name__)


@app.get("/health")
def health() -> str:
    return "OK"


@app.get("/")
def hello() -> str:
    return "Hello world"
