"""How the tests reach the app.

TEST_REMOTE_URL  where it answers; `mse localtest` and `mse test` set it
TEST_CA_FILE     a certificate to trust for it, for instance the one that `mse verify` saved
"""

import os

import pytest
import requests


class App(requests.Session):
    """A session in which a path is enough to name a page of the app."""

    url = os.environ.get("TEST_REMOTE_URL", "http://localhost:5000").rstrip("/")
    ca_file = os.environ.get("TEST_CA_FILE")

    def request(self, method, path, **options):
        options.setdefault("timeout", 30)
        if self.ca_file:
            options["verify"] = self.ca_file
        return super().request(method, self.url + path, **options)


@pytest.fixture(scope="session")
def service() -> App:
    return App()
