import json
import os
from pathlib import Path

import pytest

SECRETS = json.loads((Path(__file__).parent.parent / "secrets.json").read_text())
TOKEN = os.environ.get("TEST_API_TOKEN", SECRETS["api_token"])


def sign(service, message, token=TOKEN):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return service.post("/sign", json={"message": message}, headers=headers)


def test_is_healthy(service):
    assert service.get("/health").json() == {"status": "ok"}


def test_what_was_signed_verifies(service):
    signed = sign(service, "pay 10 to Bob")
    assert signed.status_code == 200
    assert service.post("/verify", json=signed.json()).json() == {"valid": True}


def test_what_was_changed_does_not_verify(service):
    signed = sign(service, "pay 10 to Bob").json()
    for change in [{"message": "pay 99 to Bob"}, {"signature": "0" * 64}]:
        assert service.post("/verify", json=signed | change).json() == {"valid": False}


@pytest.mark.parametrize("token, status", [(None, 401), ("wrong", 403), (TOKEN + "x", 403)])
def test_only_the_token_signs(service, token, status):
    assert sign(service, "anything", token).status_code == status


def test_no_answer_holds_a_secret(service):
    answers = [
        sign(service, "hello"),
        sign(service, "hello", "wrong"),
        service.post("/sign", json={"wrong": 1}, headers={"Authorization": f"Bearer {TOKEN}"}),
        service.get("/openapi.json"),
        service.get("/nothing-here"),
    ]
    for answer in answers:
        assert SECRETS["signing_key"] not in answer.text + str(answer.headers)
        assert TOKEN not in answer.text + str(answer.headers)
