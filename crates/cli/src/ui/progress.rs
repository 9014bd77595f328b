//! Spinners and bars while something takes its time.
//!
//! On a terminal they move and show the time elapsed; elsewhere there is one plain line per
//! step when it is done; with `--json` there is nothing.

use std::time::{Duration, Instant};

use console::style;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Form;

/// Something that takes a moment. Dropped without [`Step::done`], it leaves no line.
pub(crate) struct Step {
    what: String,
    form: Form,
    spinner: ProgressBar,
    began: Instant,
}

impl Step {
    pub(super) fn begin(what: String, form: Form, watched: bool) -> Self {
        let spinner = ProgressBar::with_draw_target(None, target(watched)).with_style(
            ProgressStyle::with_template("{spinner:.cyan} {msg} [{elapsed}]")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        spinner.set_message(what.clone());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self {
            what,
            form,
            spinner,
            began: Instant::now(),
        }
    }

    /// Says how far it is.
    pub(crate) fn note(&self, note: &str) {
        self.spinner.set_message(format!("{} ({note})", self.what));
    }

    /// As [`Self::note`], for other threads.
    pub(crate) fn teller(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let (spinner, what) = (self.spinner.clone(), self.what.clone());
        move |note| spinner.set_message(format!("{what} ({note})"))
    }

    /// It is done; `outcome` says how it went, as in "the app runs".
    pub(crate) fn done(self, outcome: &str) {
        finish(&self.spinner, self.form, outcome, self.began.elapsed());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}

/// Something whose bytes are counted.
pub(crate) struct Bar {
    form: Form,
    shown: ProgressBar,
    began: Instant,
}

impl Bar {
    pub(super) fn begin(what: String, total: u64, form: Form, watched: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target(watched)).with_style(
            ProgressStyle::with_template(
                "{msg} {wide_bar:.cyan} {bytes}/{total_bytes} {bytes_per_sec} [{elapsed}]",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(what);
        Self {
            form,
            shown: bar,
            began: Instant::now(),
        }
    }

    /// A handle that counts, for other threads.
    pub(crate) fn counter(&self) -> Counter {
        Counter(self.shown.clone())
    }

    /// It is done; `outcome` says how it went.
    pub(crate) fn done(self, outcome: &str) {
        finish(&self.shown, self.form, outcome, self.began.elapsed());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shown.finish_and_clear();
    }
}

/// Counts the bytes of a [`Bar`].
#[derive(Clone)]
pub(crate) struct Counter(ProgressBar);

impl Counter {
    /// `bytes` more are done.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

fn target(watched: bool) -> ProgressDrawTarget {
    if watched {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn finish(bar: &ProgressBar, form: Form, outcome: &str, took: Duration) {
    bar.finish_and_clear();
    if form == Form::People {
        let time = style(format!("[{}]", elapsed(took))).dim().for_stderr();
        eprintln!("{outcome} {time}");
    }
}

/// `0.3 s`, `42.0 s`, then minutes.
fn elapsed(took: Duration) -> String {
    if took < Duration::from_secs(60) {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        HumanDuration(took).to_string()
    }
}
