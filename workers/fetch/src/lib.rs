//! The records of one partition, many at a time.
//!
//! `rdkafka` hands records out one by one, and for each of them reads the clock three times, takes the locks of the queue and of
//! the partition, and makes a reference count: a fifth of a replay's reading. librdkafka itself gives a batch
//! (`rd_kafka_consume_batch_queue`), for which that is done once. This crate is that call and nothing more, since it is the only
//! one of ours with unsafe code.
//!
//! Invariants:
//! - A [`Record`] owns its message, which is destroyed with it, and borrows the [`Queue`], which keeps the consumer alive.
//! - What is behind a message's pointers never changes while it lives: librdkafka hands it over.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_t, rd_kafka_message_timestamp,
    rd_kafka_queue_destroy, rd_kafka_queue_get_partition, rd_kafka_queue_t, rd_kafka_timestamp_type_t,
    rd_kafka_topic_name,
};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Message, OwnedHeaders, Timestamp};
use rdkafka::types::RDKafkaRespErr;

/// A partition's own queue, whose records come over no other.
pub struct Queue<C: ConsumerContext + 'static> {
    /// Destroyed in `drop`, before the consumer can be.
    native: NonNull<rd_kafka_queue_t>,
    /// The same queue, for its callback. It holds the consumer.
    queue: PartitionQueue<C>,
}

// SAFETY: librdkafka's queues may be used from any thread; `PartitionQueue` is one, too.
unsafe impl<C: ConsumerContext + 'static> Send for Queue<C> where PartitionQueue<C>: Send {}

impl<C: ConsumerContext + 'static> Queue<C> {
    /// Splits the queue of a partition off the consumer's; see [`BaseConsumer::split_partition_queue`].
    #[must_use]
    pub fn split(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: i32) -> Option<Self> {
        let queue = consumer.split_partition_queue(topic, partition)?;
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives as long as `consumer`, and the text as long as the call.
        let native = unsafe { rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        Some(Self { native: NonNull::new(native)?, queue })
    }

    /// See [`PartitionQueue::set_nonempty_callback`].
    pub fn set_nonempty_callback(&mut self, callback: impl Fn() + Send + Sync + 'static) {
        self.queue.set_nonempty_callback(callback);
    }

    /// Up to `most` records, as many as are there now. An [error](Record::error) of fetching is one of them.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<Record<'_>> {
        let mut messages: Vec<*mut rd_kafka_message_t> = vec![null_mut(); most];
        // SAFETY: the queue lives as long as `self`, and there is room for `most` pointers.
        let count = unsafe { rd_kafka_consume_batch_queue(self.native.as_ptr(), 0, messages.as_mut_ptr(), most) };
        messages.truncate(usize::try_from(count).unwrap_or(0));
        // Each of them is ours from now on.
        messages.into_iter().filter_map(NonNull::new).map(|message| Record { message, queue: PhantomData }).collect()
    }
}

impl<C: ConsumerContext + 'static> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_get_partition`, no record borrows it any more, and `queue`, which is dropped after
        // it, holds the consumer.
        unsafe { rd_kafka_queue_destroy(self.native.as_ptr()) }
    }
}

/// One record, or an error of fetching. Its headers are not read.
#[derive(Debug)]
pub struct Record<'a> {
    message: NonNull<rd_kafka_message_t>,
    queue: PhantomData<&'a ()>,
}

impl Record<'_> {
    /// What went wrong, if this is no record.
    #[must_use]
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.message().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    fn message(&self) -> &rd_kafka_message_t {
        // SAFETY: it is ours until it is dropped.
        unsafe { self.message.as_ref() }
    }
}

/// The bytes at `start`, which is the payload or the key of a message; none where there are none.
fn bytes(_of: &rd_kafka_message_t, start: *const u8, len: usize) -> Option<&[u8]> {
    // SAFETY: they live and stay as they are as long as the message.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, len) })
}

impl Message for Record<'_> {
    type Headers = OwnedHeaders;

    fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        bytes(message, message.key.cast(), message.key_len)
    }

    fn payload(&self) -> Option<&[u8]> {
        let message = self.message();
        bytes(message, message.payload.cast(), message.len)
    }

    /// None: nobody changes what was read.
    unsafe fn payload_mut(&mut self) -> Option<&mut [u8]> {
        None
    }

    fn topic(&self) -> &str {
        if self.message().rkt.is_null() {
            return "";
        }
        // SAFETY: a message holds its topic, whose name ends with a zero.
        let name = unsafe { CStr::from_ptr(rd_kafka_topic_name(self.message().rkt)) };
        name.to_str().unwrap_or_default()
    }

    fn partition(&self) -> i32 {
        self.message().partition
    }

    fn offset(&self) -> i64 {
        self.message().offset
    }

    fn timestamp(&self) -> Timestamp {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: both live through the call.
        let time = unsafe { rd_kafka_message_timestamp(self.message.as_ptr(), &raw mut kind) };
        match kind {
            _ if time == -1 => Timestamp::NotAvailable,
            rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => Timestamp::NotAvailable,
            rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Timestamp::CreateTime(time),
            rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Timestamp::LogAppendTime(time),
        }
    }

    fn headers(&self) -> Option<&OwnedHeaders> {
        None
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: librdkafka handed it over, and nobody else has it.
        unsafe { rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}
