//! How content is offered, from end to end in one process: the license server with its database, the client with its
//! store, and a virtual clock, so that years pass in milliseconds.

mod acknowledgement;
mod broadcast;
mod bundles;
mod chains;
mod diskless;
mod embedded;
mod faults;
mod film;
mod fleet;
mod fleet_device;
mod fleet_model;
mod in_memory;
mod live;
mod packaging;
mod purchase;
mod real_time;
mod rental;
mod revocation;
mod revocation_lists;
mod revocation_servers;
mod rotation;
mod season;
mod secure_clock;
mod server_time;
mod stores;
mod subscription;
mod tiers;
pub(crate) mod world;
