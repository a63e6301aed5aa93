//! What the batch and archive workers share: tables on object stores.
