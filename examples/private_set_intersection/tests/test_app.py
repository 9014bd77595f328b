import os
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent / "data"
TOKENS = {
    party: os.environ.get(f"TEST_{party.upper()}_TOKEN", f"{party}-example-token-for-trying-only")
    for party in ("bank", "insurer")
}
TABLES = {party: (DATA / f"{party}.csv").read_bytes() for party in TOKENS}
IN_COMMON = [
    {"customer_id": "C-1002", "bank.risk": "high", "insurer.claims": "7"},
    {"customer_id": "C-1004", "bank.risk": "high", "insurer.claims": "1"},
    {"customer_id": "C-1007", "bank.risk": "low", "insurer.claims": "2"},
]


def ask(service, method, party, page, token=None, **options):
    headers = {"Authorization": f"Bearer {token or TOKENS[party]}"} | options.pop("headers", {})
    return service.request(method, f"/parties/{party}/{page}", headers=headers, **options)


def upload(service, party, table=None, content_type="text/csv", **options):
    table = TABLES[party] if table is None else table
    headers = {"Content-Type": content_type}
    return ask(service, "PUT", party, "table", data=table, headers=headers, **options)


@pytest.fixture(autouse=True)
def fresh_session(service):
    for party in TOKENS:
        answer = ask(service, "POST", party, "reset")
        assert answer.status_code == 200
    assert answer.json() == {"reset": True, "waiting_for": []}


def test_is_healthy(service):
    assert service.get("/health").json() == {"status": "ok"}


def test_both_get_the_agreed_columns_of_the_rows_in_common_and_nothing_else(service):
    for party in TOKENS:
        assert upload(service, party).json() == {"rows": 5}
    for party in TOKENS:
        answer = ask(service, "GET", party, "result")
        assert answer.status_code == 200
        assert answer.json() == {"rows": IN_COMMON}
        for private in ["C-1001", "C-1009", "52000", "310", "whiplash", "fracture"]:
            assert private not in answer.text


def test_json_serves_as_well_as_csv(service):
    upload(service, "insurer")
    rows = b'[{"customer_id": "C-1002", "risk": "high"}, {"customer_id": "X", "risk": "low"}]'
    assert upload(service, "bank", rows, "application/json").status_code == 200
    assert ask(service, "GET", "bank", "result").json() == {"rows": IN_COMMON[:1]}


def test_there_is_no_result_before_both_have_uploaded(service):
    upload(service, "bank")
    for party in TOKENS:
        answer = ask(service, "GET", party, "result")
        assert answer.status_code == 409
        assert "insurer" in answer.json()["detail"]


@pytest.mark.parametrize("party, token", [("bank", "wrong"), ("bank", TOKENS["insurer"]), ("nobody", "x")])
def test_only_a_partys_own_token_acts_for_it(service, party, token):
    for method, page in [("PUT", "table"), ("GET", "result"), ("POST", "reset")]:
        assert ask(service, method, party, page, token).status_code == 403
    assert service.get(f"/parties/{party}/result").status_code == 401


def test_a_table_can_be_replaced_until_the_other_is_in_and_not_after(service):
    probe = b"customer_id,risk\nC-1005,low\n"
    assert upload(service, "bank", probe).status_code == 200
    assert upload(service, "bank").status_code == 200
    assert upload(service, "insurer").status_code == 200
    for party in TOKENS:
        assert upload(service, party).status_code == 409
    assert ask(service, "GET", "bank", "result").json() == {"rows": IN_COMMON}


def test_one_party_alone_cannot_start_over(service):
    for party in TOKENS:
        upload(service, party)
    answer = ask(service, "POST", "bank", "reset").json()
    assert answer == {"reset": False, "waiting_for": ["insurer"]}
    assert upload(service, "bank").status_code == 409
    assert ask(service, "GET", "insurer", "result").status_code == 200


@pytest.mark.parametrize(
    "table, content_type, status",
    [
        (b"", "text/csv", 422),
        (b"customer_id,balance\nC-1,5\n", "text/csv", 422),
        (b"customer_id,risk\nC-1,low\nC-1,high\n", "text/csv", 422),
        (b"customer_id,risk\nC-1\n", "text/csv", 422),
        (b"customer_id,risk\n\xff\xfe,low\n", "text/csv", 422),
        (b'{"customer_id": "C-1"}', "application/json", 422),
        (b"[1, 2]", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"customer_id,risk\nC-1,low\n", "application/xml", 415),
        (b"x" * (8 * 1024 * 1024 + 1), "text/csv", 413),
    ],
)
def test_a_table_that_is_none_is_refused_and_changes_nothing(service, table, content_type, status):
    assert upload(service, "bank", table, content_type).status_code == status
    upload(service, "insurer")
    assert ask(service, "GET", "insurer", "result").status_code == 409
