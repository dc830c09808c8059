//! The threads that serve requests.
//!
//! Each thread has a runtime of its own and keeps its connections, as pingora's own server does
//! without work stealing: a request never moves between processors, and nothing is shared but
//! the route table and the pool of connections to services. One thread more serves nobody: it makes
//! the route table.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// How long tasks get to end when the threads stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Threads with a runtime each.
pub struct Workers {
    handles: Vec<Handle>,
    background: Handle,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts `count` threads that serve, at least one, and one for what they need.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count.max(1) {
            let (handle, thread) = start(format!("gateway-{number}"), stop.clone())?;
            handles.push(handle);
            threads.push(thread);
        }
        let (background, thread) = start("gateway-routes".to_owned(), stop.clone())?;
        threads.push(thread);
        Ok(Self {
            handles,
            background,
            threads,
            stop,
        })
    }

    /// The runtime of the thread that serves nobody.
    pub fn background(&self) -> &Handle {
        &self.background
    }

    /// The runtimes of the threads that serve; never empty.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Stops the threads. Not to be called from one of them.
    pub fn stop(self) {
        self.stop.cancel();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a gateway thread panicked");
            }
        }
    }
}

fn start(name: String, stop: CancellationToken) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(stop.cancelled());
        runtime.shutdown_timeout(STOP_GRACE);
    })?;
    Ok((handle, thread))
}
