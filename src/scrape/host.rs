//! What this machine says of itself, as a page: CPU, memory, disk and network from `/proc`, the
//! energy of the processor where that may be read, and NVIDIA's GPUs where NVML is installed.
//!
//! Names and meanings are those of Prometheus' node exporter, so that the same questions can be put
//! to both; of the cores there is the sum, as `cpu="all"`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::nvml::Nvml;

/// What `/proc` counts CPU time in, ticks a second; the same on every Linux of today.
const TICKS_PER_S: f64 = 100.0;

/// Bytes of a sector in `/proc/diskstats`, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// Disks, and network devices, at most.
const MOST_DEVICES: usize = 64;

/// What the columns of `/proc/stat` count.
const CPU_MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

/// Reads this machine.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// NVML, once it has been looked for, and if it is there.
    nvml: Option<Option<Nvml>>,
}

impl Host {
    /// Writes the page. What can't be read is not on it.
    pub(super) fn page(&mut self) -> String {
        let mut page = String::new();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        cpu(&read("/proc/stat"), &mut page);
        load(&read("/proc/loadavg"), &mut page);
        memory(&read("/proc/meminfo"), &mut page);
        let is_disk = |name: &str| Path::new("/sys/block").join(name).exists();
        disks(&read("/proc/diskstats"), is_disk, &mut page);
        network(&read("/proc/net/dev"), &mut page);
        energy(Path::new("/sys/class/powercap"), &mut page);
        if let Some(nvml) = self.nvml.get_or_insert_with(Nvml::load) {
            nvml.write(&mut page);
        }
        page
    }
}

/// Writes one sample; a name of a device may be anything.
fn write(page: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    page.push_str(name);
    for (index, (label, text)) in labels.iter().enumerate() {
        let text = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let before = if index == 0 { '{' } else { ',' };
        // Writing to a string can't fail.
        let _ = write!(page, "{before}{label}=\"{text}\"");
    }
    if !labels.is_empty() {
        page.push('}');
    }
    let _ = writeln!(page, " {value}");
}

fn cpu(stat: &str, page: &mut String) {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = all.unwrap_or_default().split_whitespace();
    for (mode, ticks) in CPU_MODES.iter().zip(ticks) {
        if let Ok(ticks) = ticks.parse::<f64>() {
            let labels = [("cpu", "all"), ("mode", mode)];
            write(page, "node_cpu_seconds_total", &labels, ticks / TICKS_PER_S);
        }
    }
}

fn load(loadavg: &str, page: &mut String) {
    let first = loadavg.split_whitespace().next();
    if let Some(load) = first.and_then(|load| load.parse::<f64>().ok()) {
        write(page, "node_load1", &[], load);
    }
}

fn memory(meminfo: &str, page: &mut String) {
    for field in ["MemTotal", "MemAvailable"] {
        let mut lines = meminfo.lines();
        let kib = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        if let Some(kib) = kib {
            let name = format!("node_memory_{field}_bytes");
            write(page, &name, &[], kib.saturating_mul(1024));
        }
    }
}

fn disks(diskstats: &str, is_disk: impl Fn(&str) -> bool, page: &mut String) {
    let of_memory = ["loop", "ram", "zram"];
    let lines = diskstats.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        let name = words.next()?;
        let sectors: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let is_shown = !of_memory.iter().any(|kind| name.starts_with(kind)) && is_disk(name);
        is_shown.then_some((name, *sectors.get(2)?, *sectors.get(6)?))
    });
    for (name, read, written) in lines.take(MOST_DEVICES) {
        let labels = [("device", name)];
        for (metric, sectors) in [("read", read), ("written", written)] {
            let metric = format!("node_disk_{metric}_bytes_total");
            write(page, &metric, &labels, sectors.saturating_mul(SECTOR_BYTES));
        }
    }
}

fn network(devices: &str, page: &mut String) {
    let lines = devices.lines().filter_map(|line| {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> = counts
            .split_whitespace()
            .filter_map(|count| count.parse().ok())
            .collect();
        Some((name.trim(), *counts.first()?, *counts.get(8)?))
    });
    for (name, received, sent) in lines.take(MOST_DEVICES) {
        let labels = [("device", name)];
        for (metric, bytes) in [("receive", received), ("transmit", sent)] {
            let metric = format!("node_network_{metric}_bytes_total");
            write(page, &metric, &labels, bytes);
        }
    }
}

/// Writes what the packages and their memory have used, in joules; most systems show that to root alone.
fn energy(powercap: &Path, page: &mut String) {
    let Ok(zones) = fs::read_dir(powercap) else {
        return;
    };
    let mut zones: Vec<_> = zones
        .flatten()
        .map(|zone| zone.file_name().to_string_lossy().into_owned())
        .filter(|zone| zone.starts_with("intel-rapl:"))
        .collect();
    zones.sort();
    for zone in zones.iter().take(MOST_DEVICES) {
        let folder = powercap.join(zone);
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let name = text("name");
        let kind = name.trim().split('-').next().unwrap_or_default().to_owned();
        if !["package", "dram"].contains(&kind.as_str()) {
            continue;
        }
        if let Ok(microjoules) = text("energy_uj").trim().parse::<f64>() {
            let metric = format!("node_rapl_{kind}_joules_total");
            write(page, &metric, &[("zone", zone)], microjoules / 1e6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_proc_says_under_the_node_exporters_names() {
        let mut page = String::new();
        cpu(
            "cpu  100 0 250 4000 50 0 7 1 0 0\ncpu0 50 0 100 2000 25 0 3 0 0 0\n",
            &mut page,
        );
        load("0.52 0.58 0.59 1/389 12345\n", &mut page);
        memory(
            "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n",
            &mut page,
        );
        let stats = "   8       0 sda 10 0 20 5 30 0 40 9 0 7 14\n   8       1 sda1 1 0 2 5 3 0 4 9 0 7 14\n   7       0 loop0 1 0 2 0 0 0 0 0 0 0 0\n";
        disks(stats, |name| name != "sda1", &mut page);
        network(
            "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n  eth0: 1000 1 0 0 0 0 0 0 2000 2 0 0 0 0 0 0\n",
            &mut page,
        );
        let expected = "\
node_cpu_seconds_total{cpu=\"all\",mode=\"user\"} 1
node_cpu_seconds_total{cpu=\"all\",mode=\"nice\"} 0
node_cpu_seconds_total{cpu=\"all\",mode=\"system\"} 2.5
node_cpu_seconds_total{cpu=\"all\",mode=\"idle\"} 40
node_cpu_seconds_total{cpu=\"all\",mode=\"iowait\"} 0.5
node_cpu_seconds_total{cpu=\"all\",mode=\"irq\"} 0
node_cpu_seconds_total{cpu=\"all\",mode=\"softirq\"} 0.07
node_cpu_seconds_total{cpu=\"all\",mode=\"steal\"} 0.01
node_load1 0.52
node_memory_MemTotal_bytes 16777216
node_memory_MemAvailable_bytes 8388608
node_disk_read_bytes_total{device=\"sda\"} 10240
node_disk_written_bytes_total{device=\"sda\"} 20480
node_network_receive_bytes_total{device=\"eth0\"} 1000
node_network_transmit_bytes_total{device=\"eth0\"} 2000
";
        assert_eq!(page, expected);
    }

    #[test]
    fn energy_is_that_of_packages_and_of_memory() {
        let folder = tempfile::tempdir().unwrap();
        for (zone, name, energy) in [
            ("intel-rapl:0", "package-0\n", "2500000\n"),
            ("intel-rapl:0:0", "core\n", "1\n"),
            ("intel-rapl:0:1", "dram\n", "500000\n"),
            ("dtpm", "dtpm\n", "1\n"),
        ] {
            let zone = folder.path().join(zone);
            fs::create_dir(&zone).unwrap();
            fs::write(zone.join("name"), name).unwrap();
            fs::write(zone.join("energy_uj"), energy).unwrap();
        }
        let mut page = String::new();
        energy(folder.path(), &mut page);
        assert_eq!(
            page,
            "node_rapl_package_joules_total{zone=\"intel-rapl:0\"} 2.5\n\
             node_rapl_dram_joules_total{zone=\"intel-rapl:0:1\"} 0.5\n"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_cpu_and_memory() {
        let page = Host::default().page();
        for name in ["node_cpu_seconds_total", "node_memory_MemTotal_bytes"] {
            assert!(page.contains(name), "{page}");
        }
        let found = super::super::prometheus::samples(&page);
        assert!(found.into_iter().all(|sample| sample.is_some()), "{page}");
    }
}
