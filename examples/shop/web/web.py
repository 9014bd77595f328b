"""A shop: takes orders into MariaDB, and counts visits in Redis.

It speaks plain TCP: the network shield makes it mutual TLS.
"""

import os
import signal
import sys
from pathlib import Path

import pymysql
import redis
from flask import Flask, jsonify, request
from waitress import serve

VERSION = os.environ["VERSION"]


def secret(name):
    """Read at each connection: the CAS may have rotated it."""
    return Path("/run/shop", name).read_text()


def cache():
    return redis.Redis("cache", 6379, password=secret("redis"), decode_responses=True)


def database():
    return pymysql.connect(
        host="orders",
        user="web",
        password=secret("mariadb"),
        database="shop",
        autocommit=True,
        connect_timeout=10,
        read_timeout=10,
    )


app = Flask(__name__)


@app.get("/")
def index():
    with cache() as visits:
        return jsonify(version=VERSION, visits=visits.incr("visits"))


@app.get("/orders")
def orders():
    with database() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT number, item FROM orders ORDER BY number")
        found = [{"number": number, "item": item} for number, item in cursor.fetchall()]
    with cache() as last:
        return jsonify(version=VERSION, orders=found, last=last.get("last-item"))


@app.post("/orders")
def order():
    item = request.get_json()["item"]
    with database() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (item) VALUES (%s)", (item,))
        number = cursor.lastrowid
    with cache() as last:
        last.set("last-item", item)
    return jsonify(number=number), 201


# A service that is ill is not the end of the others: it is started again.
@app.errorhandler(redis.RedisError)
@app.errorhandler(pymysql.MySQLError)
def ill(error):
    return jsonify(error=type(error).__name__), 503


if __name__ == "__main__":
    with database() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS orders"
            " (number INT AUTO_INCREMENT PRIMARY KEY, item VARCHAR(200) NOT NULL)"
        )
    # What was begun is done first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"the shop is open, version {VERSION}", flush=True)
    serve(app, host="127.0.0.1", port=5000, threads=8)
