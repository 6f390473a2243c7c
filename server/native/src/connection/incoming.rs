//! Calls come: from a stream's headers to whole messages in Python's inbox.

use super::*;

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Posts what has happened, and has Python told.
    pub(super) fn post(&mut self) {
        if self.shared.server.inbox.post_all(&mut self.events) {
            self.shared.hub.raising.is_due();
        }
    }

    pub(super) fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let began = Instant::now();
        let server = self.shared.server.clone();
        if !self.has_called {
            self.has_called = true;
            server.register.called(self.shared.number);
        }
        let (head, body) = request.into_parts();
        if let Some(status) = no_grpc(&head.method, &head.headers) {
            let mut response = Response::new(());
            *response.status_mut() = status;
            let _ = respond.send_response(response, true);
            return;
        }
        let path = head.uri.path();
        let route = server.route(path);
        let timeout = head
            .headers
            .get("grpc-timeout")
            .map(|value| timeout::parse(value.as_bytes()));
        let encoding = encoding(&head.headers);
        let size = metadata::size_bytes(&head.headers, path);
        let refusal = if size > server.limits.metadata_bytes {
            Some(Failure::new(
                status::RESOURCE_EXHAUSTED,
                format!(
                    "the metadata have {size} bytes, at most {} are taken",
                    server.limits.metadata_bytes
                ),
            ))
        } else if route.is_none() {
            Some(Failure::new(status::UNIMPLEMENTED, "Method not found!"))
        } else if let Err(name) = &encoding {
            Some(Failure::new(
                status::UNIMPLEMENTED,
                format!("unknown grpc-encoding {name:.40}"),
            ))
        } else if timeout == Some(None) {
            Some(Failure::new(status::INTERNAL, "grpc-timeout is malformed"))
        } else {
            let is_large = size > FREE_METADATA_BYTES;
            server
                .too_many(self.under_way)
                .or_else(|| is_large.then(|| self.too_full()).flatten())
        };
        let index = route.map_or(server.other(), |(index, _)| index);
        if let Some(failure) = refusal {
            server.statistics.add(index, failure.status, began.elapsed(), 0, 0);
            self.send_end_alone(&mut respond, failure);
            return;
        }
        let kind = route.map_or(Kind::Cold, |(_, kind)| kind);
        let deadline = timeout.flatten().and_then(|timeout| began.checked_add(timeout));
        let place = self.free_place();
        self.next_serial += 1;
        let shared = Arc::new(CallShared::new(
            self.shared.clone(),
            place,
            self.next_serial,
            index,
            head.headers,
            deadline,
        ));
        let watched = deadline.filter(|&deadline| deadline < began + FARTHEST);
        if let Some(deadline) = watched {
            self.deadlines.insert((deadline, place));
        }
        server.calls.fetch_add(1, Ordering::Relaxed);
        self.under_way += 1;
        if size > FREE_METADATA_BYTES {
            shared.hold(size + HEADER_BYTES * shared.headers.len());
        }
        let reader = Reader::new(server.limits.message_bytes, encoding.unwrap_or(Encoding::Identity));
        self.slots[place].call = Some(Box::new(Call {
            shared: shared.clone(),
            kind,
            began,
            body: Some(body),
            reader,
            respond: Some(respond),
            send: None,
            out: VecDeque::new(),
            end: None,
            is_known: kind == Kind::Stream,
            has_message: false,
            is_inflating: false,
            is_paused: false,
            is_held_back: false,
            watched,
            request_bytes: 0,
            response_bytes: 0,
        }));
        if kind == Kind::Stream {
            self.events.push(Event::Stream(shared));
        }
        self.guarded(place, Self::advance);
    }

    pub(super) fn read(&mut self, call: &mut Call, context: &mut Context<'_>) -> Step {
        while !call.is_inflating && !call.is_paused {
            if call.kind == Kind::Stream || !call.has_message {
                match call.reader.next() {
                    Ok(Some(message)) => {
                        if let Step::Over(status) = self.take(call, message) {
                            return Step::Over(status);
                        }
                        continue;
                    }
                    Ok(None) => {}
                    Err(failure) => return self.refuse(call, failure),
                }
            }
            let Some(body) = &mut call.body else {
                return Step::Wait;
            };
            // A unary call with its message is not asked for more, unless there is something that would stay.
            if body.is_end_stream() {
                call.body = None;
                return self.half_closed(call);
            }
            match body.poll_data(context) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(None) => {
                    call.body = None;
                    return self.half_closed(call);
                }
                Poll::Ready(Some(Err(_))) => return self.left(call),
                Poll::Ready(Some(Ok(chunk))) => {
                    let _ = body.flow_control().release_capacity(chunk.len());
                    if call.kind != Kind::Stream && call.has_message {
                        continue; // a unary call has one message; what else comes is overlooked
                    }
                    call.shared.hold(chunk.len());
                    call.reader.push(chunk);
                    if let Some(failure) = self.too_full() {
                        return self.refuse(call, failure);
                    }
                }
            }
        }
        Step::Wait
    }

    pub(super) fn too_full(&self) -> Option<Failure> {
        let own = self.shared.pending_bytes.load(Ordering::Relaxed);
        self.shared.server.too_full(own)
    }

    /// The caller will send no more.
    pub(super) fn half_closed(&mut self, call: &mut Call) -> Step {
        if !call.has_message && (call.kind != Kind::Stream || !call.reader.is_empty()) {
            return self.refuse(
                call,
                Failure::new(status::INTERNAL, "the request ended before its message was whole"),
            );
        }
        if call.kind == Kind::Stream {
            self.events.push(Event::Message(call.shared.clone(), None));
        }
        Step::Wait
    }

    /// A message is whole; where it is compressed, it is inflated first.
    pub(super) fn take(&mut self, call: &mut Call, message: Message) -> Step {
        call.has_message = call.kind != Kind::Stream;
        if !message.compressed {
            return self.hand_over(call, message.body);
        }
        let limit_bytes = self.shared.server.limits.message_bytes;
        let encoding = call.reader.encoding();
        if message.body.len() <= INFLATE_HERE_BYTES && limit_bytes <= 1 << 26 {
            let packed_bytes = message.body.len();
            let packed = message.body.whole();
            return match message::inflate(&packed, encoding, limit_bytes.min(INFLATE_HERE_BYTES * 32)) {
                Ok(body) => self.inflated(call, packed_bytes, body),
                Err(failure) if failure.status == status::RESOURCE_EXHAUSTED => {
                    self.inflate_elsewhere(call, message.body.whole(), encoding, limit_bytes)
                }
                Err(failure) => self.refuse(call, failure),
            };
        }
        self.inflate_elsewhere(call, message.body.whole(), encoding, limit_bytes)
    }

    pub(super) fn inflate_elsewhere(
        &mut self,
        call: &mut Call,
        body: Bytes,
        encoding: Encoding,
        limit_bytes: usize,
    ) -> Step {
        call.is_inflating = true;
        let shared = call.shared.clone();
        tokio::task::spawn_blocking(move || {
            let inflated = catch_unwind(|| message::inflate(&body, encoding, limit_bytes))
                .unwrap_or_else(|_| Err(Failure::new(status::INTERNAL, "internal error")));
            shared.let_go(body.len());
            let hub = shared.connection.hub.clone();
            hub.push(Command::Inflated(shared, inflated.map_err(Box::new)));
        });
        Step::Wait
    }

    pub(super) fn inflated(&mut self, call: &mut Call, packed_bytes: usize, body: Bytes) -> Step {
        call.shared.let_go(packed_bytes);
        self.hand_over_inflated(call, body)
    }

    /// Inflated it may be a thousand times what came.
    pub(super) fn hand_over_inflated(&mut self, call: &mut Call, body: Bytes) -> Step {
        call.shared.hold(body.len());
        match self.too_full() {
            Some(failure) => self.refuse(call, failure),
            None => self.hand_over(call, body.into()),
        }
    }

    pub(super) fn hand_over(&mut self, call: &mut Call, body: Body) -> Step {
        call.request_bytes += body.len();
        if call.kind == Kind::Hot {
            if let Some(failure) = self.shared.server.refusal(&call.shared, &body) {
                return Step::Over(self.end_now(call, failure));
            }
        }
        call.is_known = true;
        call.shared.has_message(body.len() + message::PREFIX_BYTES);
        if call.kind == Kind::Stream {
            call.is_paused = !call.shared.deliver(body.len());
            self.events.push(Event::Message(call.shared.clone(), Some(body)));
        } else {
            self.shared.hub.lookout.came(call.began);
            self.shared.server.inbox.expect(&self.shared);
            self.events.push(Event::Call(call.shared.clone(), body));
        }
        Step::Wait
    }
}
