def test_is_healthy(service):
    assert service.get("/health").status_code == 200


def test_greets(service):
    response = service.get("/")
    assert response.status_code == 200
    assert response.text == "Hello world"


def test_has_no_other_pages(service):
    assert service.get("/nothing-here").status_code == 404
