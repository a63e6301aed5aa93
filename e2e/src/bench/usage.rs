//! What the machine is, and what processes use of it, from `/proc`.

use std::time::Duration;

/// The CPU time that a process has used so far, all of its threads; zero if there is no such process. Its resolution is
/// the kernel's tick of 10 ms.
pub fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; user and system time are the 14th and 15th field.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

/// The largest resident memory that a process has had, in MiB.
pub fn peak_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Ticks of all processors since the start: all, idle, and stolen by other machines of the host.
#[derive(Clone, Copy, Debug)]
pub struct Ticks([u64; 3]);

impl Ticks {
    /// Now.
    pub fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
        Self([ticks.iter().take(8).sum(), at(3) + at(4), at(7)])
    }

    /// The shares of time since `before` in which processors were busy, and in which they were stolen, in percent.
    pub fn since(self, before: Self) -> (u64, u64) {
        let [all, idle, stolen] = std::array::from_fn(|i| self.0[i].saturating_sub(before.0[i]));
        ((all - idle.min(all)) * 100 / all.max(1), stolen * 100 / all.max(1))
    }
}

/// The machine in one line.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |m| m.1);
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = read("/proc/meminfo");
    let memory = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / (1 << 20);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cpus} × {model}, {memory} GiB, Linux {}, load before {load}", kernel.trim())
}
