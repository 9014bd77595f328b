//! What the sections of TEEs have besides reference values.

use super::{
    Policy, PolicyError, ServiceTd,
    file::{all, tolerance},
    read::{Item, Section},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::{
    Tee, TrustAnchor,
    nitro::AcceptedAttesters,
    snp::{Concession, Demand, SnpProduct, SnpTcb},
};

impl Policy {
    pub(super) fn read_others(
        &mut self,
        tee: Tee,
        section: &Section<'_>,
    ) -> Result<(), PolicyError> {
        match tee {
            Tee::Sgx => self.read_sgx(section),
            Tee::Tdx => self.read_tdx(section),
            Tee::Snp => self.read_snp(section),
            Tee::Nitro => self.read_nitro(section),
            Tee::Tpm => self.read_vtpm(section),
            _ => Ok(()),
        }
    }

    fn read_nitro(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        if let Some(item) = section.find("max_age") {
            self.nitro.max_age = Some(item.duration()?);
        }
        if let Some(item) = section.find("enclaves_only")
            && item.boolean()?
        {
            self.nitro.attesters = AcceptedAttesters::EnclavesOnly;
        }
        self.check_registers(section)
    }

    /// A document has registers of an enclave or of a NitroTPM: both can never be there.
    fn check_registers(&self, section: &Section<'_>) -> Result<(), PolicyError> {
        let names = |prefix: &str| self.references.keys().any(|name| name.starts_with(prefix));
        let both = section
            .keys()
            .find(|name| name.starts_with("nitrotpm_pcr") && names("nitro.pcr"));
        match both.and_then(|name| section.find(name)) {
            Some(item) => Err(item.invalid(
                "no document has registers of an enclave and of a NitroTPM",
                "keep `pcr…` for enclaves, or `nitrotpm_pcr…` for EC2 instances",
            )),
            None => Ok(()),
        }
    }

    fn read_sgx(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        if let Some(item) = section.find("isv_prod_id") {
            self.sgx.isv_prod_id = Some(sixteen_bits(&item)?);
        }
        if let Some(item) = section.find("min_isv_svn") {
            self.sgx.min_isv_svn = sixteen_bits(&item)?;
        }
        Ok(())
    }

    fn read_tdx(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        if let Some(item) = section.find("min_tee_tcb_svn") {
            self.tdx.min_tee_tcb_svn = item.hex_array()?;
        }
        for section in all(section, "tolerate")? {
            let what = section.require("what", TDX_TOLERATE)?;
            let slot = match what.string()? {
                "service-td" => {
                    self.read_service_td(&section)?;
                    continue;
                }
                "sept-ve" => &mut self.tdx.sept_ve,
                "migration" => &mut self.tdx.migration,
                _ => return Err(what.invalid("there is no such exception", TDX_TOLERATE)),
            };
            section.refuse_unknown(&["what", "reason", "until"], |_| false, |_| None)?;
            if slot.is_some() {
                return Err(what.twice());
            }
            *slot = Some(tolerance(&section)?);
        }
        Ok(())
    }

    fn read_service_td(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        section.refuse_unknown(
            &["what", "mr_service_td", "reason", "until"],
            |_| false,
            |_| None,
        )?;
        let item = section.require("mr_service_td", "give the 48 bytes of MR_SERVICETD")?;
        let mr_service_td = item.hex_array()?;
        if mr_service_td == [0; 48] {
            return Err(item.invalid(
                "zero stands for no service TD",
                "name the service TD, or remove this entry",
            ));
        }
        let tolerated = &mut self.tdx.service_tds;
        if tolerated
            .iter()
            .any(|one| one.mr_service_td == mr_service_td)
        {
            return Err(item.twice());
        }
        tolerated.push(ServiceTd {
            mr_service_td,
            tolerance: tolerance(section)?,
        });
        Ok(())
    }

    fn read_snp(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        for (key, floors) in [
            ("min_tcb", &mut self.snp.min_tcb),
            ("min_launch_tcb", &mut self.snp.min_launch_tcb),
        ] {
            let Some(item) = section.find(key) else {
                continue;
            };
            let products = item.section()?;
            products.refuse_unknown(&PRODUCTS.map(SnpProduct::as_str), |_| false, |_| None)?;
            for product in PRODUCTS {
                if let Some(item) = products.find(product.as_str()) {
                    floors.insert(product, snp_tcb(product, &item.section()?)?);
                }
            }
            if floors.is_empty() {
                return Err(item.invalid(
                    "it asks for nothing",
                    "name a product, as in `[snp.min_tcb.Genoa]`",
                ));
            }
        }
        if let Some(item) = section.find("min_abi") {
            let text = item.string()?;
            self.snp.min_abi = text
                .split_once('.')
                .and_then(|(major, minor)| major.parse().ok().zip(minor.parse().ok()))
                .filter(|(major, minor)| format!("{major}.{minor}") == text)
                .ok_or_else(|| {
                    item.invalid("this is not a version of the ABI", "write it as in `1.55`")
                })?;
        }
        if let Some(item) = section.find("min_guest_svn") {
            self.snp.min_guest_svn = item.integer(0..=u32::MAX)?;
        }
        if let Some(item) = section.find("require") {
            for item in item.one_or_more()? {
                let name = item.string()?;
                let Some((_, demand)) = DEMANDS.iter().find(|(known, _)| *known == name) else {
                    return Err(item.invalid("there is no such demand", SNP_REQUIRE));
                };
                if !self.snp.demands.insert(*demand) {
                    return Err(item.twice());
                }
            }
        }
        if let Some(item) = section.find("csp_ids") {
            for item in item.one_or_more()? {
                self.snp.csp_ids.push(item.words()?);
            }
        }
        if let Some(item) = section.find("require_crl") {
            self.snp.require_crl = item.boolean()?;
        }
        for section in all(section, "tolerate")? {
            self.read_snp_tolerance(&section)?;
        }
        Ok(())
    }

    fn read_vtpm(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        if let Some(item) = section.find("pinned_aks") {
            for item in item.one_or_more()? {
                let fingerprint = item.hex_array()?;
                if self.vtpm.pinned_aks.contains(&fingerprint) {
                    return Err(item.twice());
                }
                self.vtpm.pinned_aks.push(fingerprint);
            }
        }
        if let Some(item) = section.find("roots") {
            for item in item.one_or_more()? {
                let root = CertificateDer::from_pem_slice(item.string()?.as_bytes())
                    .map_err(|_| item.invalid("this is not PEM", "put a PEM certificate here"))?;
                let anchor = TrustAnchor::tpm(&root).map_err(|source| item.no_anchor(source))?;
                self.anchors.push(anchor);
            }
        }
        Ok(())
    }

    fn read_snp_tolerance(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        let what = section.require("what", SNP_TOLERATE)?;
        let concession = match what.string()? {
            "vmpl" => {
                section.refuse_unknown(
                    &["what", "max_vmpl", "reason", "until"],
                    |_| false,
                    |_| None,
                )?;
                let max = section
                    .require("max_vmpl", "name the highest level, 1 to 3")?
                    .integer(1..=3)?;
                if self.snp.vmpl.is_some() {
                    return Err(what.twice());
                }
                self.snp.vmpl = Some((max, tolerance(section)?));
                return Ok(());
            }
            "migration-agent" => Concession::MigrationAgent,
            "masked-chip-id" => Concession::MaskedChip,
            _ => return Err(what.invalid("there is no such exception", SNP_TOLERATE)),
        };
        section.refuse_unknown(&["what", "reason", "until"], |_| false, |_| None)?;
        let terms = tolerance(section)?;
        match self.snp.concessions.insert(concession, terms) {
            None => Ok(()),
            Some(_) => Err(what.twice()),
        }
    }
}

fn snp_tcb(product: SnpProduct, section: &Section<'_>) -> Result<SnpTcb, PolicyError> {
    // Only Turin has an FMC: a floor for it would refuse every other platform.
    let parts: &[&str] = match product {
        SnpProduct::Turin => &["fmc", "bootloader", "tee", "snp", "microcode"],
        _ => &["bootloader", "tee", "snp", "microcode"],
    };
    section.refuse_unknown(parts, |_| false, |_| None)?;
    let part = |name| {
        section.find(name).map_or(Ok(0), |item| {
            let number = item.integer(0..=u32::from(u8::MAX))?;
            u8::try_from(number)
                .map_err(|_| item.invalid("the number is out of range", "use 0 to 255"))
        })
    };
    Ok(SnpTcb {
        fmc: part("fmc")?,
        bootloader: part("bootloader")?,
        tee: part("tee")?,
        snp: part("snp")?,
        microcode: part("microcode")?,
    })
}

fn sixteen_bits(item: &Item<'_>) -> Result<u16, PolicyError> {
    let number = item.integer(0..=u32::from(u16::MAX))?;
    u16::try_from(number).map_err(|_| item.invalid("the number is out of range", "use 16 bits"))
}

const TDX_TOLERATE: &str = "use `sept-ve`, `migration`, or `service-td` with `mr_service_td`";

const SNP_TOLERATE: &str = "use `migration-agent`, `masked-chip-id`, or `vmpl` with `max_vmpl`";

const SNP_REQUIRE: &str = "use `no-smt`, `single-socket`, `ciphertext-hiding` or `alias-check`";

const PRODUCTS: [SnpProduct; 3] = [SnpProduct::Milan, SnpProduct::Genoa, SnpProduct::Turin];

pub(super) const DEMANDS: [(&str, Demand); 4] = [
    ("no-smt", Demand::NoSmt),
    ("single-socket", Demand::SingleSocket),
    ("ciphertext-hiding", Demand::CiphertextHiding),
    ("alias-check", Demand::AliasCheck),
];
