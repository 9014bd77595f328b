//! Which namespace, images and TEE: the table `[kubernetes]` of the server's configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// The table as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KubernetesTable {
    /// A file that names the cluster.
    kubeconfig: Option<PathBuf>,
    /// The namespace of apps.
    namespace: String,
    /// Who this platform is among others in the namespace.
    #[serde(default = "default_platform")]
    platform: String,
    /// Where the evidence of apps comes from.
    tee: String,
    /// Where pods get bundles: `http://host:port`.
    bundles: String,
    /// Images by the names of curated runtimes.
    images: BTreeMap<String, String>,
    /// A service account with which all apps go.
    owner: Option<String>,
    /// Labels of the pods that may connect to apps: those of `mse-server`.
    #[serde(default)]
    gateway_labels: BTreeMap<String, String>,
    /// The namespace of these pods.
    gateway_namespace: Option<String>,
    /// Secrets with passwords of registries.
    #[serde(default)]
    pull_secrets: Vec<String>,
    /// Another runtime class than the TEE's own.
    runtime_class: Option<String>,
    /// Whether pods share the user namespace of their node.
    host_users: Option<bool>,
    /// Further resources for a pod's container: those of SGX.
    resources: Option<BTreeMap<String, String>>,
    /// Labels that nodes of apps have.
    #[serde(default)]
    node_selector: BTreeMap<String, String>,
    /// The folder of the simulated platform on each node.
    simulated_platform: Option<String>,
}

fn default_platform() -> String {
    "mse".to_owned()
}

/// How apps are run on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// A file that names the cluster; else `KUBECONFIG`, the file in its usual place, or the cluster
    /// that this program is a pod of.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of apps.
    pub namespace: String,
    /// Who this platform is among others in the namespace: a label's value.
    pub platform: String,
    /// Where the evidence of apps comes from.
    pub tee: PodTee,
    /// Where pods get bundles, without a slash at the end.
    pub bundles: String,
    /// Images by the names of curated runtimes.
    pub images: BTreeMap<String, PinnedImage>,
    /// A service account with which all apps go.
    pub owner: Option<String>,
    /// Labels of the pods that may connect to apps; nobody may if there are none.
    pub gateway_labels: BTreeMap<String, String>,
    /// The namespace of these pods; else that of the apps.
    pub gateway_namespace: Option<String>,
    /// Secrets with passwords of registries, by name.
    pub pull_secrets: Vec<String>,
    /// The runtime class of pods.
    pub runtime_class: Option<String>,
    /// `false`: pods have a user namespace of their own. Nothing: the cluster's default.
    pub host_users: Option<bool>,
    /// Further resources for a pod's container.
    pub resources: BTreeMap<String, String>,
    /// Labels that nodes of apps have.
    pub node_selector: BTreeMap<String, String>,
    /// The folder of the simulated platform on each node, if the TEE is simulated.
    pub simulated_platform: Option<String>,
}

impl TryFrom<KubernetesTable> for KubernetesSettings {
    type Error = InvalidSettings;

    fn try_from(table: KubernetesTable) -> Result<Self, InvalidSettings> {
        let tee: PodTee = table.tee.parse()?;
        check(
            "namespace",
            &table.namespace,
            is_dns_label(&table.namespace),
            LABEL,
        )?;
        check(
            "platform",
            &table.platform,
            is_dns_label(&table.platform),
            LABEL,
        )?;
        let url = table.bundles.trim_end_matches('/');
        check(
            "bundles",
            &table.bundles,
            is_bundle_url(url),
            "write `http://NAME:PORT`, where pods reach the address of `--bundles`; what is sent there is ciphertext and checked by its digest, so that it needs no TLS",
        )?;
        let simulated_platform = match (tee, table.simulated_platform) {
            (PodTee::Simulated, None) => {
                return Err(InvalidSettings::Missing {
                    field: "simulated-platform",
                    fix: "with `tee = \"simulated\"`, name the folder of nodes that holds the simulated platform of this server (`platform` in its data folder)",
                });
            }
            (PodTee::Simulated, Some(path)) => {
                check(
                    "simulated-platform",
                    &path,
                    path.starts_with('/'),
                    "write an absolute path",
                )?;
                Some(path)
            }
            (_, Some(path)) => {
                return Err(InvalidSettings::field(
                    "simulated-platform",
                    &path,
                    "leave it out: only `tee = \"simulated\"` has a simulated platform",
                ));
            }
            (_, None) => None,
        };
        if table.images.is_empty() {
            return Err(InvalidSettings::Missing {
                field: "images",
                fix: "name at least one: `mse-flask = \"registry/name@sha256:…\"`",
            });
        }
        let images = table.images.into_iter().map(|(name, image)| {
            let pinned = image.parse()?;
            Ok((name, pinned))
        });
        Ok(Self {
            images: images.collect::<Result<_, InvalidSettings>>()?,
            kubeconfig: table.kubeconfig,
            namespace: table.namespace,
            platform: table.platform,
            tee,
            bundles: url.to_owned(),
            owner: table.owner,
            gateway_labels: table.gateway_labels,
            gateway_namespace: table.gateway_namespace,
            pull_secrets: table.pull_secrets,
            runtime_class: table
                .runtime_class
                .or_else(|| tee.runtime_class().map(str::to_owned)),
            host_users: table.host_users,
            resources: table.resources.unwrap_or_else(|| tee.resources()),
            node_selector: table.node_selector,
            simulated_platform,
        })
    }
}

/// Where the evidence of apps in pods comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodTee {
    /// Intel SGX, with Gramine.
    Sgx,
    /// Intel TDX: pods are confidential machines.
    Tdx,
    /// AMD SEV-SNP: pods are confidential machines.
    Snp,
    /// Nobody: it protects nothing from the owners of nodes.
    Simulated,
}

impl PodTee {
    /// What `mse-launch` is told.
    pub(super) fn attester(self) -> &'static str {
        match self {
            Self::Sgx => "gramine",
            Self::Tdx | Self::Snp => "tsm",
            Self::Simulated => "simulated",
        }
    }

    fn runtime_class(self) -> Option<&'static str> {
        match self {
            Self::Tdx => Some("kata-qemu-tdx"),
            Self::Snp => Some("kata-qemu-snp"),
            Self::Sgx | Self::Simulated => None,
        }
    }

    fn resources(self) -> BTreeMap<String, String> {
        let sgx = [
            ("sgx.intel.com/enclave", "1"),
            ("sgx.intel.com/epc", "64Mi"),
        ];
        match self {
            Self::Sgx => sgx
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            Self::Tdx | Self::Snp | Self::Simulated => BTreeMap::new(),
        }
    }
}

impl FromStr for PodTee {
    type Err = InvalidSettings;

    fn from_str(text: &str) -> Result<Self, InvalidSettings> {
        match text {
            "sgx" => Ok(Self::Sgx),
            "tdx" => Ok(Self::Tdx),
            "snp" => Ok(Self::Snp),
            "simulated" => Ok(Self::Simulated),
            _ => Err(InvalidSettings::field(
                "tee",
                text,
                "write `sgx`, `tdx`, `snp` or `simulated`",
            )),
        }
    }
}

impl fmt::Display for PodTee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::Simulated => "simulated",
        })
    }
}

/// An image by its digest: whoever has the registry cannot change what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedImage(String);

impl FromStr for PinnedImage {
    type Err = InvalidSettings;

    fn from_str(text: &str) -> Result<Self, InvalidSettings> {
        let digest = text.rsplit_once("@sha256:");
        let pinned = digest.is_some_and(|(name, digest)| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_graphic())
                && digest.len() == 64
                && digest
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        check(
            "images",
            text,
            pinned,
            "name it by its digest: `registry/name@sha256:…`",
        )?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const LABEL: &str = "use at most 63 lower-case letters, digits and `-`, as in a DNS name";

fn is_dns_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_bundle_url(url: &str) -> bool {
    let authority = url.strip_prefix("http://").unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check(
    field: &'static str,
    value: &str,
    is_right: bool,
    fix: &'static str,
) -> Result<(), InvalidSettings> {
    if is_right {
        return Ok(());
    }
    Err(InvalidSettings::field(field, value, fix))
}

/// Why the table cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// A value that is none.
    #[error("`{field}` of `[kubernetes]` is `{value}`; {fix}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        fix: &'static str,
    },
    /// A value that is not there.
    #[error("`{field}` of `[kubernetes]` is missing; {fix}")]
    Missing {
        /// Which.
        field: &'static str,
        /// What it should be.
        fix: &'static str,
    },
}

impl InvalidSettings {
    fn field(field: &'static str, value: &str, fix: &'static str) -> Self {
        let start: String = value.chars().take(120).collect();
        Self::Field {
            field,
            value: start.escape_debug().to_string(),
            fix,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const DIGEST: &str = "r.example/mse-flask@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

    pub(in super::super) fn read(text: &str) -> Result<KubernetesSettings, String> {
        let table: KubernetesTable = toml::from_str(text).map_err(|error| error.to_string())?;
        KubernetesSettings::try_from(table).map_err(|error| error.to_string())
    }

    pub(in super::super) fn table(changes: &[(&str, &str)]) -> String {
        let mut fields = BTreeMap::from([
            ("namespace", "'apps'".to_owned()),
            ("tee", "'snp'".to_owned()),
            ("bundles", "'http://mse.mse.svc:7320/'".to_owned()),
            ("images", format!("{{ mse-flask = '{DIGEST}' }}")),
        ]);
        for (field, value) in changes {
            fields.insert(field, (*value).to_owned());
        }
        let lines = fields.iter().filter(|(_, value)| !value.is_empty());
        lines.fold(String::new(), |table, (field, value)| {
            table + field + " = " + value + "\n"
        })
    }

    #[test]
    fn each_tee_brings_its_class_and_its_resources() {
        let snp = read(&table(&[])).unwrap();
        assert_eq!(snp.bundles, "http://mse.mse.svc:7320");
        assert_eq!(snp.runtime_class.as_deref(), Some("kata-qemu-snp"));
        assert!(snp.resources.is_empty());
        let sgx = read(&table(&[("tee", "'sgx'")])).unwrap();
        assert_eq!(sgx.runtime_class, None);
        assert_eq!(sgx.resources["sgx.intel.com/enclave"], "1");
        let own = read(&table(&[("runtime-class", "'own'")])).unwrap();
        assert_eq!(own.runtime_class.as_deref(), Some("own"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_a_fix() {
        for (field, value) in [
            ("namespace", "Apps"),
            ("platform", "a_b"),
            ("tee", "gramine"),
            ("bundles", "https://mse.mse.svc:7320"),
            ("bundles", "http://mse.mse.svc"),
            ("bundles", "http://a:1/b:2"),
            ("simulated-platform", "/srv/tee"),
        ] {
            let refused = read(&table(&[(field, &format!("'{value}'"))])).unwrap_err();
            let begins = format!("`{field}` of `[kubernetes]` is `{value}`; ");
            assert!(refused.starts_with(&begins), "{refused}");
        }
        let tagged = read(&table(&[("images", "{ mse-flask = 'r.example/a:1' }")])).unwrap_err();
        assert!(
            tagged.contains("`r.example/a:1`; name it by its digest"),
            "{tagged}"
        );
        let none = read(&table(&[("images", "{}")])).unwrap_err();
        assert!(
            none.contains("`images`") && none.contains("missing"),
            "{none}"
        );
        let misspelt = read(&table(&[("nodeselector", "{}")])).unwrap_err();
        assert!(misspelt.contains("nodeselector"), "{misspelt}");
        // Nobody gets a simulation by leaving something out.
        assert!(read(&table(&[("tee", "")])).unwrap_err().contains("tee"));
        let nowhere = read(&table(&[("tee", "'simulated'")])).unwrap_err();
        assert!(nowhere.contains("`simulated-platform`"), "{nowhere}");
    }
}
