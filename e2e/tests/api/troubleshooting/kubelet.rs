//! The part of a kubelet that these tests need: the stream workers of Deployments and of replays run as processes, with the
//! arguments and files of their pods, and are ready when they say so themselves. Everything else is ready at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use e2e::services::{Directory, Process, Program, free_ports};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Secret};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{World, has_ended};

/// What a `ReplicaSet` and a pod add to the name of their Deployment.
const SUFFIX: &str = "7d4b9c8f6d-x2v7k";

pub struct Kubelet {
    directory: Directory,
    workers: BTreeMap<String, Worker>,
}

struct Worker {
    template: String,
    process: Process,
    admin: u16,
}

impl Kubelet {
    pub fn new() -> Self {
        Self { directory: Directory::new("kubelet").unwrap(), workers: BTreeMap::new() }
    }

    /// Has what the cluster asks for run, and says of it what is.
    pub async fn sync(&mut self, world: &World) {
        let deployments = world.api::<Deployment>().list(&ListParams::default()).await.unwrap().items;
        let names: BTreeSet<String> = deployments.iter().map(ResourceExt::name_any).collect();
        let gone: Vec<String> = self.workers.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.stop(&name).await;
        }
        for deployment in deployments {
            let ready = match deployment.labels().get("app.kubernetes.io/component").map(String::as_str) {
                Some("stream") => self.is_ready(world, &deployment).await,
                _ => true,
            };
            report(world, &deployment, ready).await;
        }
        let list = ListParams::default().labels("app.kubernetes.io/component=replay");
        for job in world.api::<Job>().list(&list).await.unwrap().items.into_iter().filter(|job| !has_ended(job)) {
            self.run(world, &job).await;
        }
    }

    /// Whether the worker of a Deployment is ready; it is started with the newest template.
    async fn is_ready(&mut self, world: &World, deployment: &Deployment) -> bool {
        let name = deployment.name_any();
        let template = &deployment.spec.as_ref().unwrap().template;
        let written = serde_json::to_string(template).unwrap();
        if self.workers.get(&name).is_none_or(|worker| worker.template != written) {
            self.stop(&name).await;
            let [admin] = free_ports().unwrap();
            let Some(program) = self.program(world, &name, template, admin).await else { return false };
            let program = program.env("HOSTNAME", format!("{name}-{SUFFIX}"));
            let process = program.start(self.directory.path().join(format!("{name}.log"))).unwrap();
            self.workers.insert(name.clone(), Worker { template: written, process, admin });
        }
        let url = format!("http://127.0.0.1:{}/readyz", self.workers[&name].admin);
        tokio::task::spawn_blocking(move || ureq::get(&url).call().is_ok()).await.unwrap()
    }

    async fn stop(&mut self, name: &str) {
        if let Some(mut worker) = self.workers.remove(name) {
            worker.process.terminate(Duration::from_secs(20)).await.unwrap();
        }
    }

    /// Runs all parts of a replay, one after the other, to their end.
    async fn run(&self, world: &World, job: &Job) {
        let spec = job.spec.as_ref().unwrap();
        for index in 0..spec.completions.unwrap_or(1) {
            let [admin] = free_ports().unwrap();
            let name = format!("{}-{index}", job.name_any());
            let Some(program) = self.program(world, &name, &spec.template, admin).await else { return };
            let program = program.env("JOB_COMPLETION_INDEX", index.to_string()).env("HOSTNAME", &name);
            let mut process = program.start(self.directory.path().join(format!("{name}.log"))).unwrap();
            let end = process.wait(Duration::from_mins(1)).await.unwrap();
            assert!(end.success(), "{end}: {}", process.log_tail());
        }
        world.replay(true).await;
    }

    /// The container's process with its files; none while one of them is not there yet.
    async fn program(&self, world: &World, name: &str, template: &PodTemplateSpec, admin: u16) -> Option<Program> {
        let files = self.directory.path().join(name);
        let pod = template.spec.as_ref().unwrap();
        for volume in pod.volumes.iter().flatten() {
            let at = files.join(&volume.name);
            if let Some(source) = &volume.config_map {
                let map = world.api::<ConfigMap>().get_opt(&source.name).await.unwrap()?;
                write(&at, map.data.into_iter().flatten().map(|(file, text)| (file, text.into_bytes())));
            } else if let Some(source) = &volume.secret {
                let secret = source.secret_name.as_ref().unwrap();
                let secret = world.api::<Secret>().get_opt(secret).await.unwrap()?;
                write(&at, secret.data.into_iter().flatten().map(|(file, bytes)| (file, bytes.0)));
            }
        }
        let arguments = pod.containers[0].args.iter().flatten().map(|argument| {
            let argument = argument.replace("/etc/featuremill", &files.display().to_string());
            if argument.starts_with("--admin=") { format!("--admin=127.0.0.1:{admin}") } else { argument }
        });
        Some(Program::of_workspace("featuremill-stream").unwrap().args(arguments))
    }
}

fn write(folder: &Path, files: impl Iterator<Item = (String, Vec<u8>)>) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

/// Says what a Deployment's controller would.
async fn report(world: &World, deployment: &Deployment, ready: bool) {
    let replicas = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let ready = if ready { replicas } else { 0 };
    let status = json!({"status": {
        "observedGeneration": deployment.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": ready, "availableReplicas": ready,
    }});
    let (name, patch) = (deployment.name_any(), Patch::Merge(status));
    match world.api::<Deployment>().patch_status(&name, &PatchParams::default(), &patch).await {
        // It may be deleted meanwhile.
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        answer => drop(answer.unwrap()),
    }
}
