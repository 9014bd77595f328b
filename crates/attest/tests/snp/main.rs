//! SEV-SNP reports: genuine ones with their expected verdicts, and forged ones under a PKI of
//! AMD's form that is made here.

mod chains;
mod der;
mod forged;
mod judged;
mod pki;
mod samples;
