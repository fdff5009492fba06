//! The scripts against the model that the simulation trusts, and replicas against a server
//! with everything that happens to one. Needs `redis-server`.

mod files;
mod network;
mod replicas;
mod scripts;
mod server;
