//! The client API of a CAS as an OpenAPI document.

use utoipa::OpenApi as _;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, ResponseBuilder, Schema};

use super::{
    AUDIT_HEAD, AUDIT_LINES, AuditLines, BACKUP, BackupMade, CasError, Done, GivenValue,
    NewProposal, OPENAPI, POSITION, PROPOSAL, PROPOSAL_APPROVE, PROPOSAL_DROP, PROPOSAL_WITHDRAW,
    PROPOSALS, PositionView, ProposalId, ProposalList, ProposalView, PublicValue, Revocation,
    Rotation, SECRETS, SECRETS_ROTATE, SECRETS_VALUE, SESSION, SESSION_HISTORY, SESSION_REVOKE,
    SESSIONS, SecretList, SessionHistory, SessionList, SessionView, StoredSession, Upload, VALUE,
    Vote,
};

/// The document as it is served at [`OPENAPI`] and checked in at `openapi/mse-cas.json`.
pub fn document() -> String {
    let mut document = Description::openapi();
    let mut paths = PathsBuilder::new();
    for one in &OPERATIONS {
        paths = paths.path(one.path, one.item());
    }
    document.paths = paths.build();
    let mut json = document
        .to_pretty_json()
        .expect("a document of strings and maps is JSON");
    json.push('\n');
    json
}

/// What is said of the API as a whole, and its types.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MSE CAS",
        description = "Sessions, proposals, secrets and the audit log of a CAS. HTTP/1.1 on TLS 1.3 whose certificate chain ends in the root key of the CAS: pin it after an attestation, before anything is sent. Clients are known by the key of their TLS certificate, which may be self-signed. Each answer has the position of the store in the header `mse-position`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(
        AuditLines,
        BackupMade,
        CasError,
        Done,
        GivenValue,
        NewProposal,
        PositionView,
        ProposalId,
        ProposalList,
        ProposalView,
        PublicValue,
        Revocation,
        Rotation,
        SecretList,
        SessionHistory,
        SessionList,
        SessionView,
        StoredSession,
        Upload,
        Vote,
    ))
)]
struct Description;

/// One operation, as the table says it.
struct Operation {
    method: Method,
    path: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, Required)],
    /// Name of the schema of the body.
    body: Option<&'static str>,
    /// Status, and name of the schema of the answer; JSON of any shape without it.
    answer: (&'static str, Option<&'static str>),
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Post,
    Put,
}

use Method::{Get, Post, Put};
use Required::{False, True};

const fn get(
    path: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, Required)],
    answer: Option<&'static str>,
) -> Operation {
    Operation {
        method: Get,
        path,
        summary,
        parameters,
        body: None,
        answer: ("200", answer),
    }
}

const fn send(
    method: Method,
    path: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answer: (&'static str, Option<&'static str>),
) -> Operation {
    Operation {
        method,
        path,
        summary,
        parameters: &[],
        body,
        answer,
    }
}

const OPERATIONS: [Operation; 22] = [
    get("/v1/cas", "What the CAS says it is", &[], None),
    send(
        Post,
        "/v1/attest",
        "Evidence of the CAS, bound to this connection",
        None,
        ("200", None),
    ),
    send(
        Post,
        SESSIONS,
        "Creates a session, or updates it if it names a predecessor",
        Some("Upload"),
        ("201", Some("StoredSession")),
    ),
    get(
        SESSIONS,
        "Sessions that the client may list",
        &[("within", False)],
        Some("SessionList"),
    ),
    get(
        SESSION,
        "A version of a session",
        &[("name", True), ("hash", False)],
        Some("SessionView"),
    ),
    get(
        SESSION_HISTORY,
        "All versions of a session",
        &[("name", True)],
        Some("SessionHistory"),
    ),
    send(
        Post,
        SESSION_REVOKE,
        "Ends a session for good",
        Some("Revocation"),
        ("200", Some("Done")),
    ),
    send(
        Post,
        PROPOSALS,
        "Proposes an update",
        Some("NewProposal"),
        ("201", Some("ProposalView")),
    ),
    get(
        PROPOSALS,
        "Proposals for a session",
        &[("session", True)],
        Some("ProposalList"),
    ),
    get(
        PROPOSAL,
        "A proposal, with its text",
        &[("session", True), ("id", True)],
        Some("ProposalView"),
    ),
    send(
        Post,
        PROPOSAL_APPROVE,
        "Approves a proposal",
        Some("Vote"),
        ("200", Some("ProposalView")),
    ),
    send(
        Post,
        PROPOSAL_WITHDRAW,
        "Takes an approval back",
        Some("Vote"),
        ("200", Some("ProposalView")),
    ),
    send(
        Post,
        PROPOSAL_DROP,
        "Drops a proposal",
        Some("ProposalId"),
        ("200", Some("Done")),
    ),
    get(
        SECRETS,
        "The secrets of a session, without values",
        &[("session", True)],
        Some("SecretList"),
    ),
    send(
        Post,
        SECRETS_ROTATE,
        "Makes a new value of a secret",
        Some("Rotation"),
        ("200", Some("SecretList")),
    ),
    send(
        Put,
        SECRETS_VALUE,
        "Gives a secret a value of the owner's",
        Some("GivenValue"),
        ("200", Some("SecretList")),
    ),
    get(
        VALUE,
        "A value that is exported to all; for anybody",
        &[("session", True), ("secret", True)],
        Some("PublicValue"),
    ),
    get(
        AUDIT_HEAD,
        "The newest signed head of the audit log, or null; for anybody",
        &[],
        None,
    ),
    get(
        AUDIT_LINES,
        "A part of the audit log",
        &[("from", False), ("limit", False)],
        Some("AuditLines"),
    ),
    get(
        POSITION,
        "Where the store is; refused if it does not follow from `seen`",
        &[("seen", False)],
        Some("PositionView"),
    ),
    send(
        Post,
        BACKUP,
        "Writes a backup beside the store",
        None,
        ("200", Some("BackupMade")),
    ),
    get(OPENAPI, "This document", &[], None),
];

impl Operation {
    fn item(&self) -> PathItem {
        let mut operation = OperationBuilder::new()
            .summary(Some(self.summary))
            .response(self.answer.0, answer("Done", self.answer.1))
            .response("default", answer("Not done", Some("CasError")));
        for (name, required) in self.parameters {
            let parameter = ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Query)
                .required(required.clone())
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
            operation = operation.parameter(parameter);
        }
        if let Some(body) = self.body {
            let body = RequestBodyBuilder::new()
                .content(JSON, content(Some(body)))
                .required(Some(True));
            operation = operation.request_body(Some(body.build()));
        }
        let method = match self.method {
            Get => HttpMethod::Get,
            Post => HttpMethod::Post,
            Put => HttpMethod::Put,
        };
        PathItem::new(method, operation)
    }
}

const JSON: &str = "application/json";

fn answer(description: &str, schema: Option<&str>) -> utoipa::openapi::Response {
    ResponseBuilder::new()
        .description(description)
        .content(JSON, content(schema))
        .build()
}

fn content(schema: Option<&str>) -> utoipa::openapi::Content {
    let schema: RefOr<Schema> = match schema {
        Some(name) => Ref::from_schema_name(name).into(),
        None => Schema::from(ObjectBuilder::new()).into(),
    };
    ContentBuilder::new().schema(Some(schema)).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    /// `UPDATE_OPENAPI=1` writes the document instead of comparing it.
    #[test]
    fn the_checked_in_document_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/mse-cas.json");
        let document = document();
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(&path, document).unwrap();
            return;
        }
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == document,
            "`openapi/mse-cas.json` and the code have parted: run this test with UPDATE_OPENAPI=1 \
             and look at the difference"
        );
    }

    #[test]
    fn every_operation_is_there_and_every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let operations = document["paths"].as_object().unwrap().values();
        let count: usize = operations.map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(count, OPERATIONS.len());
        let mut references = BTreeSet::new();
        collect(&document, &mut references);
        assert!(references.len() > 20);
        for reference in references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    match value.as_str() {
                        Some(text) if key == "$ref" => {
                            found.insert(text.to_owned());
                        }
                        _ => collect(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
}
