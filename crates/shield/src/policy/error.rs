//! What is wrong with a policy. No value of a variable that may hold a key is repeated.

/// So much of a name is shown.
const LONGEST_NAME: usize = 120;

/// A fault of one variable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{variable}`: {fault}")]
pub struct PolicyError {
    /// The variable.
    pub variable: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl PolicyError {
    pub(crate) fn new(variable: impl AsRef<str>, fault: Fault) -> Self {
        // A name may be anything, too.
        let name = variable.as_ref().chars().take(LONGEST_NAME);
        Self {
            variable: name.collect::<String>().escape_debug().to_string(),
            fault,
        }
    }
}

/// What is wrong with a variable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such variable.
    #[error(
        "the network shield has no such variable; after `SERVER_<name>` come PORT, IDENTITY, CLIENT_AUTH, CLIENT_NAMES, after `CLIENT_<name>` come DESTINATION, DESTINATION_IP, SERVER_DNS_NAME, IDENTITY, SERVER_AUTH; names are letters and digits"
    )]
    Unknown,
    /// `MSE_…` and `SCONE_…` of the same name.
    #[error("the session gives it with `MSE_` and with `SCONE_` in front: keep one")]
    BothDialects,
    /// Too long.
    #[error("{0} bytes are too long: at most {MAX_VALUE} are taken", MAX_VALUE = super::variables::MAX_VALUE)]
    TooLong(usize),
    /// Too many rules.
    #[error("there are too many rules: at most {0} of a kind are taken")]
    TooManyRules(usize),
    /// Not one of the words.
    #[error("`{found}` is not one of {expected}")]
    Word {
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
    /// A part of a rule without the rule.
    #[error("belongs to a rule that is not there: add `{rule}=protected`")]
    NoRule {
        /// The variable that begins it.
        rule: String,
    },
    /// A part is missing.
    #[error("the rule needs `{0}`")]
    Missing(String),
    /// A part that the rule cannot have.
    #[error("has no meaning for a rule that is `{0}`: take it out")]
    Meaningless(&'static str),
    /// A path of a Unix socket.
    #[error(
        "`{0}`: Unix sockets are not shielded; a peer on another machine is reached by `TCP:host:port`"
    )]
    UnixSocket(String),
    /// Another protocol.
    #[error("`{0}`: only TCP is shielded")]
    Protocol(String),
    /// Not an address.
    #[error("`{found}` is not of the form `{expected}`")]
    Address {
        /// What it says.
        found: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// Not an IP address.
    #[error("`{0}` is neither an IP address nor `*`")]
    IpAddress(String),
    /// Not a name for certificates.
    #[error("`{0}` is not a DNS name or an IP address")]
    ServerName(String),
    /// Not a DNS name.
    #[error("`{0}` is not a DNS name, such as certificates of clients have")]
    ClientName(String),
    /// Names, and no certificate to have them.
    #[error(
        "names are those in certificates of clients, which are disabled: give the certificates of their CA in CLIENT_AUTH"
    )]
    NamesOfAnybody,
    /// For Unix sockets only.
    #[error("flags are for Unix sockets, which are not shielded: take it out")]
    Flags,
    /// `disabled` where there is nothing to disable.
    #[error(
        "a server that is not verified can be anybody, and the connection is not protected: give the certificates of its CA, or say `unprotected` if that is meant"
    )]
    UnverifiedServer,
    /// An empty value.
    #[error("is empty")]
    Empty,
    /// A path that no released file can have.
    #[error("`{0}` is no absolute path of an injected file")]
    FilePath(String),
    /// Two rules for the same.
    #[error("`{what}` has a rule already: `{first}`")]
    SameTwice {
        /// Port or destination.
        what: String,
        /// The other rule.
        first: String,
    },
    /// A server and a client rule need the same loopback address.
    #[error(
        "`localhost:{port}` is the service's own port in `{server}`: the program could not tell the two apart; give the destination another name"
    )]
    OwnPort {
        /// The port.
        port: u16,
        /// The server's rule.
        server: String,
    },
    /// Rules that cannot be kept, since the rest is in the clear.
    #[error(
        "rules are kept only if `{main}` is `protected`: otherwise the program has the host's network and could go past them; set it, and name what may stay in the clear in rules that are `unprotected`"
    )]
    NotKept {
        /// The main variable.
        main: String,
    },
}
