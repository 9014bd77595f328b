def test_is_healthy(service):
    assert service.get("/health").status_code == 200


def test_greets(service):
    assert service.get("/").text == "Hello world"


def test_has_its_secrets_and_keeps_them(service):
    answer = service.get("/whoami")
    assert answer.json() == {"login": "owner"}
    assert "change me" not in answer.text
