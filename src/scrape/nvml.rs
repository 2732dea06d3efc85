//! NVIDIA's GPUs of this machine, through NVML where that is installed: the library is loaded when
//! this machine is first scraped, so that nothing is needed to build, or to run without it.
//!
//! Names, units and labels are those of NVIDIA's DCGM exporter, so that the same questions can be put
//! to both.
#![expect(unsafe_code, reason = "a library of C that is loaded at run time")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::fmt::Write as _;

/// Devices at most.
const MOST_DEVICES: c_uint = 64;

/// Bytes of a UUID at most; NVML asks for 80.
const UUID_BYTES: usize = 96;

const MIB: u64 = 1 << 20;

/// What NVML calls a device; known by it alone.
type Device = *mut c_void;

/// NVML's `nvmlUtilization_t`, in percent.
#[repr(C)]
#[derive(Default)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

/// NVML's `nvmlMemory_t`, in bytes.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

type Start = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type Handle = unsafe extern "C" fn(c_uint, *mut Device) -> c_int;
type Uuid = unsafe extern "C" fn(Device, *mut c_char, c_uint) -> c_int;
type Milliwatts = unsafe extern "C" fn(Device, *mut c_uint) -> c_int;
type Utilized = unsafe extern "C" fn(Device, *mut Utilization) -> c_int;
type Held = unsafe extern "C" fn(Device, *mut Memory) -> c_int;
type Temperature = unsafe extern "C" fn(Device, c_int, *mut c_uint) -> c_int;

/// NVML's functions, as its header declares them. A function returns 0 where it succeeded.
#[derive(Debug)]
pub(super) struct Nvml {
    count: Count,
    device: Handle,
    uuid: Uuid,
    milliwatts: Milliwatts,
    utilization: Utilized,
    memory: Held,
    temperature: Temperature,
}

/// Finds a function in the open library; leaves the function with `None` where there is none.
macro_rules! function {
    ($library:expr, $name:literal, $type:ty) => {{
        // SAFETY: the library is open, and the name ends with a null.
        let found = unsafe { libc::dlsym($library, $name.as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: every version of NVML has the function of that name with these types.
        unsafe { std::mem::transmute::<*mut c_void, $type>(found) }
    }};
}

impl Nvml {
    /// Loads and starts NVML; `None` where it is not installed, or finds no driver.
    pub(super) fn load() -> Option<Self> {
        // SAFETY: the name ends with a null. The library's own initialisers run, as they do in
        // every program that is linked with it. It is never closed.
        let library = unsafe { libc::dlopen(c"libnvidia-ml.so.1".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        let start = function!(library, c"nvmlInit_v2", Start);
        let nvml = Self {
            count: function!(library, c"nvmlDeviceGetCount_v2", Count),
            device: function!(library, c"nvmlDeviceGetHandleByIndex_v2", Handle),
            uuid: function!(library, c"nvmlDeviceGetUUID", Uuid),
            milliwatts: function!(library, c"nvmlDeviceGetPowerUsage", Milliwatts),
            utilization: function!(library, c"nvmlDeviceGetUtilizationRates", Utilized),
            memory: function!(library, c"nvmlDeviceGetMemoryInfo", Held),
            temperature: function!(library, c"nvmlDeviceGetTemperature", Temperature),
        };
        // SAFETY: it takes nothing, and comes before every other call.
        let status = unsafe { start() };
        (status == 0).then_some(nvml)
    }

    /// Writes what each device says; what one does not tell is left out.
    pub(super) fn write(&self, page: &mut String) {
        let mut count: c_uint = 0;
        // SAFETY: NVML has been started, and writes to a number of this frame.
        if unsafe { (self.count)(&raw mut count) } != 0 {
            return;
        }
        for index in 0..count.min(MOST_DEVICES) {
            let mut device: Device = std::ptr::null_mut();
            // SAFETY: as above.
            if unsafe { (self.device)(index, &raw mut device) } == 0 {
                self.write_device(index, device, page);
            }
        }
    }

    fn write_device(&self, index: c_uint, device: Device, page: &mut String) {
        let labels = match self.uuid(device) {
            Some(uuid) => format!("{{gpu=\"{index}\",UUID=\"{uuid}\"}}"),
            None => format!("{{gpu=\"{index}\"}}"),
        };
        let mut write = |name: &str, value: f64| {
            // Writing to a string can't fail.
            let _ = writeln!(page, "DCGM_FI_DEV_{name}{labels} {value}");
        };
        let (mut milliwatts, mut celsius): (c_uint, c_uint) = (0, 0);
        let mut utilization = Utilization::default();
        let mut memory = Memory::default();
        // SAFETY: the handle is of this NVML, which writes to values of this frame; 0 is the sensor of
        // the GPU itself.
        let told = unsafe {
            [
                (self.milliwatts)(device, &raw mut milliwatts),
                (self.utilization)(device, &raw mut utilization),
                (self.memory)(device, &raw mut memory),
                (self.temperature)(device, 0, &raw mut celsius),
            ]
        };
        let [has_power, has_utilization, has_memory, has_temperature] = told.map(|it| it == 0);
        if has_power {
            write("POWER_USAGE", f64::from(milliwatts) / 1_000.0);
        }
        if has_utilization {
            write("GPU_UTIL", f64::from(utilization.gpu));
            write("MEM_COPY_UTIL", f64::from(utilization.memory));
        }
        if has_memory {
            for (name, bytes) in [("FB_USED", memory.used), ("FB_FREE", memory.free)] {
                let mib = u32::try_from(bytes / MIB).unwrap_or(u32::MAX);
                write(name, f64::from(mib));
            }
        }
        if has_temperature {
            write("GPU_TEMP", f64::from(celsius));
        }
    }

    /// The UUID of a device, by which another source is known to tell of the same one.
    fn uuid(&self, device: Device) -> Option<String> {
        let mut text: [c_char; UUID_BYTES] = [0; UUID_BYTES];
        // SAFETY: NVML writes at most the bytes that it is given room for.
        let status = unsafe {
            (self.uuid)(
                device,
                text.as_mut_ptr(),
                c_uint::try_from(text.len()).ok()?,
            )
        };
        text[UUID_BYTES - 1] = 0;
        // SAFETY: the last byte is a null, whatever was written before it.
        let uuid = unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().ok()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (status == 0 && !uuid.is_empty() && uuid.bytes().all(is_plain)).then(|| uuid.to_owned())
    }
}
