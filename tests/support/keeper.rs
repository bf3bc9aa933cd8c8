//! Starts servers that end with the run, however it ends.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};

type Order = (Command, libc::c_int, Sender<std::io::Result<Child>>);

/// Starts a server. It gets this signal when the run ends.
pub fn spawn(command: Command, at_the_end: libc::c_int) -> Child {
    // The signal comes when the thread that started it ends: this one never does.
    static KEEPER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, taken) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, signal, started) in taken {
                // SAFETY: prctl is async-signal-safe, and touches only the child.
                unsafe {
                    command.pre_exec(move || {
                        libc::prctl(libc::PR_SET_PDEATHSIG, signal);
                        Ok(())
                    });
                }
                started.send(command.spawn()).expect("someone waits");
            }
        });
        Mutex::new(orders)
    });
    let (started, child) = channel();
    let order = (command, at_the_end, started);
    KEEPER.lock().expect("nobody panicked").send(order).expect("the keeper lives");
    child.recv().expect("the keeper answers").expect("the server starts")
}
