//! Why a mesh cannot be compiled.

use mse_session::SecretName;

use crate::model::{Network, ServiceName};
use crate::text::UndefinedMeshVariable;

/// Why a mesh cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A service whose image nobody has looked at.
    #[error("the image of `{0}` is missing")]
    NoImage(ServiceName),
    /// A curated service without a shield before it.
    #[error(
        "the curated service `{0}` has no network shield, and would be open on the machine's network without TLS: write `connections` to the services that connect to others (`connections: []` says: to nobody)"
    )]
    NoShield(ServiceName),
    /// A CAS on hardware, and no machine for the services.
    #[error(
        "the CAS runs on hardware, and `policy.machines` names no confidential virtual machine that services may run in: a rule about the workload alone would admit any of the host's; `mse measure snp` and `mse measure tdx` compute what an image measures"
    )]
    NoMachine,
    /// The names of sessions come from the namespace, and do not fit.
    #[error("the session `{name}` cannot be: {why}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The namespace is the root, or in it there would be two sessions with one name.
    #[error(
        "`{name}` would be two sessions: {first} and {second}; give the service another `name`"
    )]
    Collision {
        /// The name.
        name: String,
        /// What would have it.
        first: String,
        /// And what else.
        second: String,
    },
    /// A mesh variable without a value.
    #[error("service `{service}`: {error}; set it in `env` of the Meshfile")]
    Undefined {
        /// The service.
        service: ServiceName,
        /// Which one, and where.
        error: UndefinedMeshVariable,
    },
    /// A command without a program.
    #[error("the command of `{0}` has no word: write the program and its arguments")]
    NoCommand(ServiceName),
    /// A text of a service that cannot be read.
    #[error("service `{service}`: {what}: {why}")]
    Text {
        /// The service.
        service: ServiceName,
        /// Which text.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A secret that two services define.
    #[error(
        "`{first}` and `{second}` both define the secret `{secret}`: names are unique in a mesh; begin them with the service's"
    )]
    DefinedTwice {
        /// The secret.
        secret: SecretName,
        /// Who defines it.
        first: ServiceName,
        /// And who else.
        second: ServiceName,
    },
    /// A secret whose name the mesh builder needs.
    #[error(
        "`{service}` defines the secret `{secret}`, a name that the mesh builder uses itself: give it another, such as `{service}_{secret}`"
    )]
    Reserved {
        /// The service.
        service: ServiceName,
        /// The secret.
        secret: SecretName,
    },
    /// A secret that a service imports and nobody defines.
    #[error("`{service}` imports the secret `{secret}`, which no service defines in `secrets.global`{}", did_you_mean(.near.as_deref()))]
    NotDefined {
        /// The service.
        service: ServiceName,
        /// The secret.
        secret: SecretName,
        /// Which one it may mean.
        near: Option<String>,
    },
    /// A secret that a service uses and neither defines nor imports.
    #[error(
        "{place} of `{service}` uses the secret `{secret}`, which the service neither defines nor imports: add it to `secrets.import` of its manifest"
    )]
    NotImported {
        /// The service.
        service: ServiceName,
        /// Where.
        place: String,
        /// The secret.
        secret: SecretName,
    },
    /// An encrypted image without its key.
    #[error(
        "the image of `{0}` has an encrypted part, and its key is not here: `mse image key import` it, or build the image here"
    )]
    NoImageKey(ServiceName),
    /// The key of another image.
    #[error("the key that is here is not that of the encrypted part in the image of `{0}`")]
    OtherImageKey(ServiceName),
    /// Dangerous tolerances that nobody explains.
    #[error(
        "`policy.{field}` has `{what}`, which is dangerous: say why and until when, as `{{what: {what}, reason: …, until: 2027-03-31}}`, or give the day with `--tolerate-until`"
    )]
    TermsMissing {
        /// The field.
        field: &'static str,
        /// What is tolerated.
        what: String,
    },
    /// What this CAS cannot do.
    #[error("`{field}` is not served here: {why}")]
    NotServed {
        /// The field.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A connection to a whole network.
    #[error(
        "`services[].connections[].network` of `{service}` is `{network}`, and whole networks are not served: the shield carries connections to hosts that it knows one by one, since each has an address of its own in the program's network; name each host, as `{{host: api.example.com, ports: [443], ca: ca.pem}}`"
    )]
    Network {
        /// Who connects.
        service: ServiceName,
        /// To where.
        network: Network,
    },
    /// A connection to a service without that port.
    #[error(
        "`{service}` connects to port {port} of `{to}`, which does not say that it listens there: add the port to `listen` of its manifest or `ports` in the Meshfile"
    )]
    NoSuchPort {
        /// Who connects.
        service: ServiceName,
        /// To whom.
        to: String,
        /// To which port.
        port: u16,
    },
    /// What came out is no session: a mistake of ours, or of a value that was given.
    #[error("the session `{name}`: {faults}")]
    Session {
        /// The session.
        name: String,
        /// What is wrong.
        faults: mse_session::Faults,
    },
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |question| format!("; {question}"))
}
