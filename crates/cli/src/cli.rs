//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::conf_dir::ConfDir;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::ui::{ColorChoice, Form, Ui};

/// Deploy a Python web app into an enclave, and verify what runs there.
///
/// Your code, keys and secrets are encrypted on this machine and are opened only inside an
/// enclave that has proven what it is.
#[derive(Parser)]
#[command(
    name = "mse",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = exit::HELP
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Family,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// Print one JSON document (JSON lines where a command streams), and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    /// When to use colour: `auto` (on a terminal, unless `NO_COLOR` is set), `always` or `never`
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    color: ColorChoice,
    /// Accept simulated evidence of the platform with this trust anchor: no hardware protects it;
    /// `this-machine` is the platform in the configuration folder
    #[arg(
        long,
        global = true,
        value_name = "FILE|this-machine",
        env = "MSE_SIMULATED",
        hide_env_values = true
    )]
    pub(crate) simulated: Option<PathBuf>,
    /// The `mse-enclave` program that enclaves must run, or its SHA-256 [default: the one beside
    /// `mse`]
    #[arg(
        long,
        global = true,
        value_name = "FILE|HEX",
        env = "MSE_ENCLAVE",
        hide_env_values = true
    )]
    pub(crate) enclave: Option<String>,
}

#[derive(Subcommand)]
enum Family {
    #[command(flatten)]
    Direct(Command),
    /// The same commands, as they were written before: `mse cloud deploy` is `mse deploy`
    Cloud {
        #[command(subcommand)]
        command: Command,
    },
}

/// A command of the user's.
#[derive(Subcommand)]
pub(crate) enum Command {
    Login(commands::login::Login),
    Logout(commands::logout::Logout),
    Init(commands::init::Init),
    Scaffold(commands::scaffold::Scaffold),
    Localtest(commands::localtest::Localtest),
    Deploy(commands::deploy::Deploy),
    List(commands::list::List),
    Status(commands::status::Status),
    Logs(commands::logs::Logs),
    Stop(commands::stop::Stop),
    Test(commands::test::Test),
    Verify(Box<commands::verify::Verify>),
    Measure(Box<commands::measure::Measure>),
    Proxy(Box<commands::proxy::Proxy>),
    Service(commands::service::Service),
    Image(Box<commands::image::ImageCommand>),
    Context(commands::context::Context),
    Trust(commands::trust::Trust),
    Collateral(Box<commands::collateral::CollateralCommand>),
    Policy(commands::policy::Policy),
    Session(Box<commands::session::SessionCommand>),
    Apply(Box<commands::apply::Apply>),
    Mesh(Box<commands::mesh::MeshCommand>),
    Manifest(Box<commands::manifest::ManifestCommand>),
    Secret(commands::secret::Secret),
    Cas(commands::cas::Cas),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
}

/// A command line, understood.
pub(crate) struct Invocation {
    pub(crate) global: GlobalOptions,
    command: Command,
}

impl Invocation {
    /// Does what was asked.
    pub(crate) async fn run(self, ui: &Ui) -> Result<(), Failure> {
        let conf = ConfDir::find()?;
        let scene = Scene {
            ui,
            conf,
            global: self.global,
        };
        match self.command {
            Command::Login(command) => command.run(&scene).await,
            Command::Logout(command) => command.run(&scene).await,
            Command::Init(command) => command.run(&scene).await,
            Command::Scaffold(command) => command.run(&scene).await,
            Command::Localtest(command) => command.run(&scene).await,
            Command::Deploy(command) => Box::pin(command.run(&scene)).await,
            Command::List(command) => command.run(&scene).await,
            Command::Status(command) => command.run(&scene).await,
            Command::Logs(command) => command.run(&scene).await,
            Command::Stop(command) => command.run(&scene).await,
            Command::Test(command) => command.run(&scene).await,
            Command::Verify(command) => command.run(&scene).await,
            Command::Measure(command) => command.run(&scene),
            Command::Proxy(command) => command.run(&scene).await,
            Command::Service(command) => command.run(&scene).await,
            Command::Image(command) => Box::pin(command.run(&scene)).await,
            Command::Context(command) => command.run(&scene),
            Command::Trust(command) => command.run(&scene),
            Command::Collateral(command) => command.run(&scene).await,
            Command::Policy(command) => command.run(&scene),
            Command::Session(command) => Box::pin(command.run(&scene)).await,
            Command::Apply(command) => Box::pin(command.run(&scene)).await,
            Command::Mesh(command) => Box::pin(command.run(&scene)).await,
            Command::Manifest(command) => command.run(&scene),
            Command::Secret(command) => Box::pin(command.run(&scene)).await,
            Command::Cas(command) => command.run(&scene).await,
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(&scene),
        }
    }
}

/// What every command works with.
pub(crate) struct Scene<'a> {
    pub(crate) ui: &'a Ui,
    pub(crate) conf: ConfDir,
    pub(crate) global: GlobalOptions,
}

/// Reads the command line. What is not to be run (help, a wrong usage) has been printed.
pub(crate) fn parse() -> Result<(Ui, Invocation), ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let color = color_of(&words);
    let parsed = command(color)
        .try_get_matches_from(&words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => {
            let form = if cli.global.json {
                Form::Json
            } else {
                Form::People
            };
            let command = match cli.command {
                Family::Direct(command) | Family::Cloud { command } => command,
            };
            let invocation = Invocation {
                global: cli.global,
                command,
            };
            Ok((Ui::new(form, color), invocation))
        }
        Err(error) if error.use_stderr() && words.iter().any(|word| word == "--json") => {
            let message = error.to_string();
            let message = message.trim().trim_start_matches("error: ").to_owned();
            Ui::new(Form::Json, color).failure(&Failure::new(Exit::Usage, message));
            Err(Exit::Usage.into())
        }
        Err(error) => {
            // Nobody is left to tell that the message could not be printed.
            let _ = error.print();
            Err(if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}

/// The description of the whole command line, for help, completions and man pages.
pub(crate) fn command(color: ColorChoice) -> clap::Command {
    Cli::command().color(match color {
        ColorChoice::Auto => clap::ColorChoice::Auto,
        ColorChoice::Always => clap::ColorChoice::Always,
        ColorChoice::Never => clap::ColorChoice::Never,
    })
}

/// The choice of colour, also for messages about a command line that cannot be read.
fn color_of(words: &[OsString]) -> ColorChoice {
    let value = |at: usize, word: &OsString| match word.to_str()? {
        "--color" => words.get(at + 1)?.to_str().map(str::to_owned),
        word => word.strip_prefix("--color=").map(str::to_owned),
    };
    let chosen = words
        .iter()
        .take_while(|word| *word != "--")
        .enumerate()
        .find_map(|(at, word)| value(at, word));
    match chosen.as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_consistent() {
        command(ColorChoice::Auto).debug_assert();
    }

    #[test]
    fn cloud_may_be_left_out_of_every_command() {
        for words in [
            &["mse", "deploy", "-y"][..],
            &["mse", "cloud", "deploy", "-y"],
            &["mse", "context", "--list"],
            &["mse", "cloud", "context", "--list"],
            &["mse", "--color", "never", "list"],
            &["mse", "list", "--json"],
        ] {
            assert!(Cli::try_parse_from(words).is_ok(), "{words:?}");
        }
        assert!(Cli::try_parse_from(["mse", "cloud", "cloud", "list"]).is_err());
    }
}
