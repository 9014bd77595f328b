"""A web service of the usual shape: who asks is greeted by the user that the mesh names."""

import os

from flask import Flask

app = Flask(__name__)
USER = os.environ["API_USER"]
PASSWORD = os.environ["API_PASSWORD"]


@app.get("/")
def greet():
    return f"hello {USER}, {len(PASSWORD)} characters"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["API_PORT"]))
