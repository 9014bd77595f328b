"""How the tests reach the application.

TEST_REMOTE_URL  where it answers (`mse test` and `mse localtest` set it)
TEST_CA_FILE     the certificate to trust for it, for example the one that `mse verify` saved
"""

import os
from typing import Any

import pytest
import requests


class Service(requests.Session):
    """A session in which a path is enough to name a page of the application."""

    url = os.environ.get("TEST_REMOTE_URL", "http://localhost:5000").rstrip("/")
    ca_file = os.environ.get("TEST_CA_FILE")

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        if self.ca_file:
            options["verify"] = self.ca_file
        return super().request(method, self.url + path, **options)


@pytest.fixture(scope="session")
def service() -> Service:
    return Service()
