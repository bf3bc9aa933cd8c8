//! Three instances of the real binary on one PostgreSQL and one Redis, with a network between all of
//! them that can be made bad for each alone.

use std::net::SocketAddr;
use std::sync::Mutex;

use super::proxy::Target;
use super::{Mode, Postgres, Process, Proxy, Redis};

/// What the instances have for a Redis.
pub enum Shared {
    Redis,
    /// Three nodes.
    Cluster,
}

pub struct Fleet {
    pub instances: Vec<Instance>,
    pub postgres: Mutex<Postgres>,
    /// The server, or the nodes.
    pub redis: Vec<Mutex<Redis>>,
}

pub struct Instance {
    settings: Vec<(&'static str, String)>,
    /// Between clients and it. Its address stays the same.
    front: Proxy,
    postgres: Proxy,
    /// To the server, or to each node.
    redis: Vec<Proxy>,
    running: Mutex<Option<Running>>,
    /// What it logged in its earlier lives.
    logs: Mutex<Vec<String>>,
}

struct Running {
    process: Process,
    url: String,
}

/// One of an instance's connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line {
    Clients,
    Postgres,
    /// The server, or one of the nodes.
    Redis(usize),
}

impl Fleet {
    /// Starts all of it, the instances at once. `settings` are the instances' own.
    pub async fn start(shared: Shared, settings: &[(&'static str, &str)]) -> Fleet {
        let (postgres, (redis, scheme, ports)) = tokio::task::block_in_place(|| {
            let redis = match shared {
                Shared::Redis => (vec![Redis::start()], "redis", vec![0]),
                Shared::Cluster => {
                    let (nodes, ports) = Redis::cluster_of_three();
                    (Vec::from(nodes), "redis+cluster", Vec::from(ports))
                }
            };
            (Postgres::start(), redis)
        });
        let mut instances = Vec::new();
        for at in 0..3 {
            let line = Proxy::to(Target::Socket(postgres.socket())).await;
            let database = format!("postgres://postgres@{}/postgres", line.address);
            let mut to_redis = Vec::new();
            for (node, port) in redis.iter().zip(&ports) {
                // A host for each instance, where the nodes have the ports that they have themselves.
                let address = SocketAddr::from(([127, 0, 0, 2 + at], *port));
                to_redis.push(Proxy::at(address, Target::Socket(node.socket())).await);
            }
            let hosts: Vec<String> =
                to_redis.iter().map(|proxy| proxy.address.to_string()).collect();
            let redis_url = format!("{scheme}://{}", hosts.join(","));
            let given = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
            let own = [
                ("DATABASE_URL", database),
                ("REDIS_URL", redis_url),
                ("JWT_SECRET", "a secret that all instances share".into()),
                ("LISTEN", "127.0.0.1:0".into()),
                // As behind a balancer: what one has answered, another may answer, too.
                ("PUBLIC_URL", "https://cairn.example.org".into()),
                // A line for each request of an hour would be a lot.
                ("RUST_LOG", "warn,cairn=info,cairn::http=warn".into()),
            ];
            instances.push(Instance {
                settings: own.into_iter().chain(given).collect(),
                front: Proxy::to(Target::Nobody).await,
                postgres: line,
                redis: to_redis,
                running: Mutex::default(),
                logs: Mutex::default(),
            });
        }
        let redis = redis.into_iter().map(Mutex::new).collect();
        let fleet = Fleet { instances, postgres: Mutex::new(postgres), redis };
        futures_util::future::join_all(fleet.instances.iter().map(Instance::launch)).await;
        fleet
    }

    /// Everything that the instances have logged.
    pub fn logs(&self) -> Vec<String> {
        self.instances.iter().flat_map(Instance::logs).collect()
    }
}

impl Instance {
    /// The address through which clients come, whichever process is behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.front.address)
    }

    /// The process's own address, while there is one.
    pub fn own_url(&self) -> Option<String> {
        self.running().as_ref().map(|running| running.url.clone())
    }

    /// What one of its connections does from now on.
    pub fn set(&self, line: Line, mode: Mode) {
        let proxy = match line {
            Line::Clients => &self.front,
            Line::Postgres => &self.postgres,
            Line::Redis(node) => &self.redis[node],
        };
        proxy.set(mode);
    }

    /// Starts it, and starts it again until it serves, as whoever watches over servers does: without
    /// its database it ends.
    pub async fn launch(&self) {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for _ in 0..100 {
            match Process::spawn(&settings).try_listening().await {
                Ok((process, url)) => {
                    let address = url.trim_start_matches("http://").parse();
                    self.front.lead(Target::Address(address.expect("an address")));
                    *self.running() = Some(Running { process, url });
                    return;
                }
                Err(log) => self.keep(log),
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("an instance does not start any more:\n{}", self.logs().join("\n"));
    }

    /// Kills it at once.
    pub async fn kill(&self) {
        let process = self.take();
        self.keep(process.kill().await);
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&self) {
        // Those who ask for it meanwhile still find it.
        self.running().as_ref().expect("it runs").process.terminate();
        super::eventually("it ends", async || {
            self.running().as_mut().expect("it runs").process.has_ended()
        })
        .await;
        let (status, log) = self.take().ended().await;
        assert!(status.success(), "{status}\n{log}");
        self.keep(log);
    }

    /// Whether it has ended without having been told to.
    pub fn has_died(&self) -> bool {
        self.running().as_mut().is_some_and(|running| running.process.has_ended())
    }

    /// Whether it takes no more requests, and finishes those that it has.
    pub fn is_finishing(&self) -> bool {
        self.running().as_ref().is_none_or(|running| running.process.log().contains(FINISHING))
    }

    fn logs(&self) -> Vec<String> {
        let mut logs = self.logs.lock().expect("nobody panicked").clone();
        logs.extend(self.running().as_ref().map(|running| running.process.log()));
        logs
    }

    fn take(&self) -> Process {
        self.front.lead(Target::Nobody);
        self.running().take().expect("it runs").process
    }

    fn keep(&self, log: String) {
        self.logs.lock().expect("nobody panicked").push(log);
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What an instance logs then.
const FINISHING: &str = "finishing what is in flight";
