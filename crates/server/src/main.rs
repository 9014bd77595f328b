//! `mse-server`: see the library's documentation.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use jiff::Timestamp;
use mse_crypto::{Zeroizing, password};
use mse_runtime::kubernetes::PodTee;
use mse_runtime::process::guard;
use mse_server::config::{Command, CommandLine, Config, LogFormat};
use mse_server::data_dir::{DataDir, write_file};
use mse_server::server::{Server, StartError};
use mse_server::store::{Account, Store, StoreError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    if let Some(ended) = guard::intercept() {
        return ended;
    }
    let (command, config) = match CommandLine::parse().into_config() {
        Ok(decided) => decided,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match run(command, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_of(&error)
        }
    }
}

/// The numbers are part of the interface (docs/deploy.md): what starts this program may act on them.
fn exit_of(error: &anyhow::Error) -> ExitCode {
    let store = match error.downcast_ref() {
        Some(StartError::Store(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    match store {
        Some(StoreError::InUse { .. } | StoreError::TakenOver { .. }) => ExitCode::from(4),
        Some(_) => ExitCode::from(3),
        None => ExitCode::FAILURE,
    }
}

#[tokio::main]
async fn run(command: Option<Command>, config: &Config) -> anyhow::Result<()> {
    match command {
        None => serve(config).await,
        Some(Command::Token { email }) => print_token(config, &email).await,
        Some(Command::Password { email }) => set_password(config, &email).await,
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    log_to_stderr(config.log_format);
    raise_open_files();
    // Before anything is started: a signal during the start must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config).await?;
    print_banner(&server, config)?;
    if let Some(path) = &config.ready_file {
        write_file(path, ready(&server).as_bytes(), 0o600)?;
    }
    let taken_over = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = server.taken_over() => Some(error),
    };
    tracing::info!("stopping");
    server.shut_down().await;
    if let Some(path) = &config.ready_file {
        // It would tell of a server that is gone.
        let _ = std::fs::remove_file(path);
    }
    taken_over.map_or(Ok(()), |error| Err(error.into()))
}

fn print_banner(server: &Server, config: &Config) -> io::Result<()> {
    let (api, gateway, token) = (server.api_url(), server.gateway(), server.token());
    let mut out = io::stdout().lock();
    let cluster = config.kubernetes.as_ref().map(|cluster| &cluster.settings);
    let is_simulated = cluster.is_none_or(|cluster| cluster.tee == PodTee::Simulated);
    match cluster {
        None => writeln!(
            out,
            "MSE embedded platform (SIMULATED enclaves: no protection from this machine's owner)"
        )?,
        Some(cluster) if is_simulated => writeln!(
            out,
            "MSE platform, apps in the namespace `{}` (SIMULATED enclaves: no protection from the owners of nodes)",
            cluster.namespace
        )?,
        Some(cluster) => writeln!(
            out,
            "MSE platform, apps in the namespace `{}` (TEE: {})",
            cluster.namespace, cluster.tee
        )?,
    }
    writeln!(out, "  API      {api}\n  Gateway  {gateway}")?;
    match cluster {
        None => writeln!(out, "Log in:    mse login --server {api} --token {token}")?,
        // Output of a pod is kept by others.
        Some(_) => writeln!(out, "Log in:    `mse-server token` prints a one-time token")?,
    }
    if is_simulated {
        let anchor = server.trust_anchor().display();
        writeln!(
            out,
            "Trust it:  mse trust add {anchor}      (only because you know it is a simulation)"
        )?;
    }
    out.flush()
}

/// For programs that start this one: everything they need to use it.
fn ready(server: &Server) -> String {
    serde_json::json!({
        "api": server.api_url(),
        "gateway": server.gateway(),
        "token": server.token(),
        "trust_anchor": server.trust_anchor(),
        "pid": std::process::id(),
    })
    .to_string()
}

async fn print_token(config: &Config, email: &str) -> anyhow::Result<()> {
    let (store, account) = open_account(config, email).await?;
    let token = store
        .issue_login_token(account.id, Timestamp::now())
        .await?;
    store.close().await;
    println!("{}", *token);
    eprintln!(
        "Works once, within 24 hours:  mse login --server {} --token …",
        config.api_url()
    );
    Ok(())
}

async fn set_password(config: &Config, email: &str) -> anyhow::Result<()> {
    let (store, account) = open_account(config, email).await?;
    let password = read_password()?;
    if password.chars().count() < MIN_PASSWORD {
        bail!("the password is shorter than {MIN_PASSWORD} characters; choose a longer one");
    }
    let hash = password::hash(&password)?;
    store.set_password_hash(account.id, &hash).await?;
    store.close().await;
    eprintln!("The password of `{}` is set.", account.email);
    Ok(())
}

async fn open_account(config: &Config, email: &str) -> anyhow::Result<(Store, Account)> {
    let data = DataDir::prepare(&config.data_dir)?;
    let store = Store::beside_the_server(&config.store(&data)).await?;
    let account = store.account_by_email(email).await?;
    let account = account.with_context(|| format!("there is no account `{email}`"))?;
    Ok((store, account))
}

fn read_password() -> anyhow::Result<Zeroizing<String>> {
    if let Ok(password) = std::env::var("MSE_PASSWORD") {
        return Ok(password.into());
    }
    if io::stdin().is_terminal() {
        let asked = dialoguer::Password::new()
            .with_prompt("New password")
            .with_confirmation("Once more", "they differ")
            .interact()?;
        return Ok(asked.into());
    }
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line)?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn log_to_stderr(format: LogFormat) {
    // The client of Kubernetes calls every answer that is none an error; who asked says what it means.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client::client::builder=off"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// The gateway needs two descriptors for every connection, more than the usual soft limit has.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

const MIN_PASSWORD: usize = 12;
