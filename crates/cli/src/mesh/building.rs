//! Images are built into the store, and pushed from it.

use std::path::Path;
use std::sync::Arc;

use mse_image::{
    Built, Cancel, Event, ImageSpec, Progress, Reference, Registry, Site, build, sign,
};
use mse_workload::image::ImageFacts;

use super::keys::SigningKeyFile;
use super::store::{ImageStore, Origin};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::interrupted;

/// Where images are built, and come from.
pub(crate) struct Workshop {
    pub(crate) store: ImageStore,
    pub(crate) registry: Arc<Registry>,
}

impl Workshop {
    /// Builds the image of a service, which `reference` means on this machine from now on; gives
    /// what it says about itself, too.
    pub(crate) async fn build(
        &self,
        scene: &Scene<'_>,
        spec: ImageSpec,
        reference: &Reference,
    ) -> Result<(Built, ImageFacts), Failure> {
        let making = self.store.new_layout()?;
        let place = making.path().join("layout");
        let built = self
            .build_at(scene, spec, &reference.to_string(), &place)
            .await?;
        self.store
            .keep(reference, built.digest, &place, Origin::Built)?;
        let facts = built.facts.clone();
        let facts = facts.ok_or_else(|| Failure::other(format!("`{reference}` is no service")))?;
        Ok((built, facts))
    }

    /// Builds the image that is called `name` into the layout `place`.
    pub(crate) async fn build_at(
        &self,
        scene: &Scene<'_>,
        spec: ImageSpec,
        name: &str,
        place: &Path,
    ) -> Result<Built, Failure> {
        let site = Site {
            cache: self.store.build_cache(),
            sources: None,
            registry: Some(self.registry.clone()),
        };
        let step = scene.ui.step(format!("Building `{name}`"));
        let progress = Progress::new(told(step.teller()));
        let building = build(spec, site, place, Cancel::default(), progress);
        let built = tokio::select! {
            built = building => built.map_err(|error| failed(&error))?,
            interrupted = interrupted() => return Err(interrupted),
        };
        step.done(&format!("Built `{name}`"));
        Ok(built)
    }

    /// Pushes the image that `here` means on this machine as `to`, and signs it there.
    pub(crate) async fn push(
        &self,
        scene: &Scene<'_>,
        here: &Reference,
        to: &Reference,
        key: &SigningKeyFile,
    ) -> Result<(), Failure> {
        let signing = key.load_or_create()?;
        let Some((layout, image)) = self.store.get(here)? else {
            return Err(Failure::other("the image that was just built is gone"));
        };
        let step = scene.ui.step(format!("Pushing `{to}`"));
        self.registry
            .push(&layout, &image, to)
            .await
            .map_err(|error| {
                Failure::of_registry(&error).and("the image is built, and on this machine")
            })?;
        sign::sign(&self.registry, &to.with_digest(image.digest), &signing)
            .await
            .map_err(|error| Failure::new(Exit::Platform, error.to_string()))?;
        step.done(&format!("Pushed and signed `{to}`"));
        Ok(())
    }
}

/// What a build says, for people.
fn told(tell: impl Fn(&str) + Send + Sync + 'static) -> impl Fn(Event) + Send + Sync + 'static {
    move |event| match event {
        Event::Resolving => tell("choosing Debian's packages"),
        Event::Downloading { packages } => tell(&format!("fetching {packages} packages")),
        Event::Started(step) => tell(&step.to_string()),
        Event::Output(line) => tell(&line),
        Event::Cached(_) | Event::Done { .. } => {}
    }
}

fn failed(error: &mse_image::BuildError) -> Failure {
    Failure::new(
        Exit::InvalidConfiguration,
        format!("the image cannot be built: {error}"),
    )
    .with_hint("nothing was left behind but what later builds profit from")
}
