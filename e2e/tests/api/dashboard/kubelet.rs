//! Plays the kubelet with real processes: what a Deployment's pod would run, on this machine.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use e2e::services::{Directory, Process, Program, Signal, free_ports};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::world::World;

/// Where a process listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub admin: String,
    pub listen: String,
}

/// The processes, by the component that they are.
#[derive(Default)]
pub struct Kubelet(BTreeMap<String, (Process, Addresses, Directory)>);

impl Kubelet {
    /// Runs what Deployments ask for, and says that it is ready, until `until` is over; answers with that.
    pub async fn while_it_runs<T>(&mut self, world: &World, until: impl Future<Output = T>) -> T {
        let mut until = Box::pin(until);
        loop {
            self.look(world).await;
            tokio::select! {
                end = &mut until => return end,
                // As often as tests ask for anything.
                () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {}
            }
        }
    }

    async fn look(&mut self, world: &World) {
        let deployments = world.api::<Deployment>().list(&ListParams::default()).await.unwrap();
        for deployment in deployments {
            let component = deployment.labels()["app.kubernetes.io/component"].clone();
            if let Entry::Vacant(vacant) = self.0.entry(component) {
                vacant.insert(run(world, deployment.spec.and_then(|spec| spec.template.spec).unwrap()).await);
            }
        }
        world.roll_out().await;
    }

    pub fn of(&self, component: &str) -> Addresses {
        self.0[component].1.clone()
    }

    pub fn signal(&mut self, component: &str, signal: Signal) {
        self.0.get_mut(component).unwrap().0.signal(signal).unwrap();
    }
}

/// One process: the container's program, with its files and ports where they can be here.
async fn run(world: &World, pod: PodSpec) -> (Process, Addresses, Directory) {
    let container = &pod.containers[0];
    let command = container.command.as_ref().unwrap()[0].rsplit('/').next().unwrap();
    let directory = Directory::new(command).unwrap();
    let [admin, listen] = free_ports().unwrap().map(|port| format!("127.0.0.1:{port}"));
    let mut paths = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name).unwrap();
        let Some(source) = &volume.config_map else { continue };
        let held = world.api::<ConfigMap>().get(&source.name).await.unwrap();
        let folder = directory.path().join(&mount.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in held.data.unwrap_or_default() {
            std::fs::write(folder.join(name), text).unwrap();
        }
        paths.push((mount.mount_path.clone(), folder.display().to_string()));
    }
    let argument = |argument: &String| match argument.split_once('=') {
        Some(("--admin", _)) => format!("--admin={admin}"),
        Some(("--listen", _)) => format!("--listen={listen}"),
        _ => paths.iter().fold(argument.clone(), |argument, (there, here)| argument.replace(there, here)),
    };
    let mut program = Program::of_workspace(command).unwrap();
    program = program.args(container.args.iter().flatten().map(argument));
    for variable in container.env.iter().flatten() {
        program = program.env(&variable.name, variable.value.clone().unwrap_or_default());
    }
    let mut process = program.start(directory.path().join("log")).unwrap();
    let limit = std::time::Duration::from_secs(30);
    process.until_ok(&format!("http://{admin}/livez"), limit).await.unwrap();
    (process, Addresses { admin, listen }, directory)
}
