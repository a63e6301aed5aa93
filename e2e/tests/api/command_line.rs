//! `featuremill`, the command line, on views that roll out and back.

use std::process::Command;

use crds::FeatureView;
use e2e::control_plane::ControlPlane;
use e2e::services::Program;
use serde_json::json;

use crate::children::serve;
use crate::cutover::{active, candidate, edited, phase, played};
use crate::faults::Faults;
use crate::fixtures::VIEW;
use crate::world::World;

/// What the command prints, and whether it ended well.
pub struct CommandLine {
    program: std::path::PathBuf,
    kubeconfig: tempfile::NamedTempFile,
    namespace: String,
}

impl CommandLine {
    pub fn of(world: &World) -> Self {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), ControlPlane::shared().unwrap().kubeconfig()).unwrap();
        let program = Program::of_workspace("featuremill").unwrap().path;
        Self { program, kubeconfig, namespace: world.namespace.clone() }
    }

    /// The same with the rights of whose token that is.
    pub fn with_token(self, token: &str) -> Self {
        let mut config: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(self.kubeconfig.path()).unwrap()).unwrap();
        config["users"][0]["user"] = json!({ "token": token });
        std::fs::write(self.kubeconfig.path(), config.to_string()).unwrap();
        self
    }

    pub async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let (code, out, err) = self.output(arguments).await;
        if code == 0 { Ok(out) } else { Err(err) }
    }

    /// The exit code, and both outputs.
    pub async fn output(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", self.kubeconfig.path()).args(["-n", &self.namespace]).args(arguments);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_watched_promoted_and_taken_back_from_the_command_line() {
    let world = World::new("command-line").await;
    let operator = world.start(Faults::default());
    let command = CommandLine::of(&world);
    let old = active(&serve(&world).await);

    let nothing = command.run(&["promote", VIEW]).await.unwrap_err();
    assert!(nothing.contains("has no candidate"), "{nothing}");
    let missing = command.run(&["status", "nobody"]).await.unwrap_err();
    assert!(missing.contains("featureview") && missing.contains("nobody"), "{missing}");

    world.apply::<FeatureView>(&edited("2h", &json!({"autoPromotionEnabled": false}))).await.unwrap();
    let new = candidate(&world).await;
    played(&world, "it waits for a person", |v| phase(v) == "AwaitingPromotion").await;
    let told = command.run(&["status", VIEW]).await.unwrap();
    assert!(told.contains(&format!("serves     {old}")) && told.contains(&format!("candidate  {new}")), "{told}");
    assert!(told.contains("Reconciling: ") && told.contains("steady "), "{told}");

    command.run(&["promote", VIEW]).await.unwrap();
    played(&world, "the new one is live", |v| active(v) == new && phase(v) == "Soaking").await;
    let told = command.run(&["status"]).await.unwrap();
    assert!(told.starts_with("VIEW") && told.contains("Soaking") && told.contains(&old), "{told}");
    let history = command.run(&["history", VIEW]).await.unwrap();
    let place = |revision: &str| history.find(revision).unwrap_or_else(|| panic!("{revision} is not in {history}"));
    assert!(place(&new) < place(&old), "{history}");

    command.run(&["rollback", VIEW]).await.unwrap();
    played(&world, "the old one is live again", |v| active(v) == old && phase(v) == "RolledBack").await;
    let told = command.run(&["status", VIEW, "--watch"]).await.unwrap();
    assert!(told.contains("RolledBack"), "{told}");
    command.run(&["unpin", VIEW]).await.unwrap();
    played(&world, "the new one is live once more", |v| active(v) == new).await;

    command.run(&["pause", VIEW]).await.unwrap();
    assert!(command.run(&["pause", VIEW]).await.unwrap_err().contains("already"), "it is paused twice");
    let paused = edited("3h", &json!({"paused": true}));
    world.apply::<FeatureView>(&paused).await.unwrap();
    played(&world, "it stands still", |v| phase(v) == "Paused").await;
    let third = candidate(&world).await;
    command.run(&["abort", VIEW]).await.unwrap();
    played(&world, "it is given up", |v| phase(v) == "Aborted").await;
    command.run(&["retry", VIEW]).await.unwrap();
    command.run(&["resume", VIEW]).await.unwrap();
    played(&world, "the third is live", |v| active(v) == third).await;
    operator.stop().await;
}
