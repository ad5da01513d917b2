//! What the vault promises, tried out on servers and a catalogue that fail as told. One program, so that it is linked once.

mod common;

mod audit;
mod breaker;
mod checks;
mod compact;
mod concurrency;
mod contents;
mod contents_under_pressure;
mod crash;
mod doubt;
mod durability;
mod faults_reading;
mod faults_saving;
mod hedging;
mod journal_behind;
mod keys;
mod machines;
mod model;
mod newer;
mod orphans;
mod parts;
mod past;
mod patience;
mod rebuild;
mod rebuild_gaps;
mod rebuild_owed;
mod rebuild_servers;
mod rebuild_steps;
mod rebuild_timelines;
mod repair;
mod repair_cut_off;
mod retain;
mod secrecy;
mod unlocking;
mod upkeep;
