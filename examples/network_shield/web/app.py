"""Counts visits in Redis. Nothing here knows of TLS."""

import os

import redis
from flask import Flask

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.route("/")
def visit():
    return f"visit {store.incr('visits')}\n"


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
