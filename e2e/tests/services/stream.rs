//! The stream worker with a real Kafka and a real Redis, killed, cut off and lied to: its rows equal a brute-force count.

mod drain;
mod erase;
mod faults;
mod letters;
mod ordered;
mod reach;
mod refusals;
mod replay;
mod replay_refusals;
mod secure;
mod skew;
mod stalls;
mod transactions;
mod world;
