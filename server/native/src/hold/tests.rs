use super::*;
use bytes::Bytes;

const TEN: Duration = Duration::from_millis(10);

fn request(model: &str, elements: usize) -> Body {
    let mut message = vec![0x0a, model.len() as u8];
    message.extend_from_slice(model.as_bytes());
    message.extend([0x2a, 3, 0x0a, 1, b'x', 0x3a, elements as u8]);
    message.extend(vec![0; elements]);
    Bytes::from(message).into()
}

fn asked<'c>(body: &'c Body, headers: &'c HeaderMap, deadline: Option<Instant>) -> Asked<'c> {
    Asked {
        route: 0,
        connection: 7,
        headers,
        body,
        deadline,
    }
}

fn refusal(now: Instant, before: Option<Instant>) -> Refusal {
    Refusal {
        status: status::RESOURCE_EXHAUSTED,
        text: "full".into(),
        pushback_ms: 100,
        before,
        until: now + MOST,
        counted: 42,
    }
}

#[test]
fn its_like_is_refused_for_a_moment_and_counted() {
    let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
    let body = request("m", 4);
    let call = asked(&body, &headers, None);
    assert!(holds.look(&call, now, 0).is_none());
    assert!(holds.put(&call, &Whose::All, refusal(now, None), now));
    for serial in 0..3 {
        let failure = holds.look(&call, now, serial).unwrap();
        assert_eq!(
            (failure.status, &failure.text[..]),
            (status::RESOURCE_EXHAUSTED, "full")
        );
        let pushback = &failure.trailers.unwrap()["grpc-retry-pushback-ms"];
        let pushback: i64 = pushback.to_str().unwrap().parse().unwrap();
        assert!((50..=150).contains(&pushback));
    }
    assert!(holds.look(&call, now + MOST, 0).is_none(), "it is over");
    assert!(!holds.is_empty());
    assert_eq!(holds.take_counts(now), vec![], "it goes on");
    assert_eq!(holds.take_counts(now + MOST), vec![(42, 3)]);
    assert!(holds.is_empty());
}

#[test]
fn that_calls_come_for_other_models_is_remembered_for_a_while() {
    let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
    let (body, other) = (request("m", 4), request("n", 4));
    let (call, neighbour) = (asked(&body, &headers, None), asked(&other, &headers, None));
    assert!(holds.put(&call, &Whose::All, refusal(now, None), now));
    assert!(holds.look(&call, now, 0).is_some());
    assert!(!holds.has_others(now));
    assert!(holds.look(&neighbour, now, 0).is_none());
    assert!(holds.has_others(now));
    assert!(!holds.has_others(now + REMEMBERED));
    let odd = Body::from(Bytes::from_static(b"not plain"));
    assert!(holds.look(&asked(&odd, &headers, None), now + REMEMBERED, 0).is_none());
    assert!(
        holds.has_others(now + REMEMBERED),
        "whatever cannot be told is another's"
    );
}

#[test]
fn who_has_more_time_is_not_refused_with_those_who_have_less() {
    let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
    let body = request("m", 4);
    let call = asked(&body, &headers, None);
    holds.put(&call, &Whose::All, refusal(now, Some(now + TEN)), now);
    let due = |at: Duration| asked(&body, &headers, Some(now + at));
    assert!(holds.look(&due(TEN / 2), now, 0).is_some());
    assert!(holds.look(&due(TEN), now, 0).is_none());
    assert!(holds.look(&call, now, 0).is_none(), "it has no deadline");
}

#[test]
fn another_model_another_size_and_another_method_are_not_like_it() {
    let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
    let (body, other, smaller, larger) = (request("m", 4), request("n", 4), request("m", 3), request("m", 9));
    holds.put(&asked(&body, &headers, None), &Whose::All, refusal(now, None), now);
    assert!(holds.look(&asked(&other, &headers, None), now, 0).is_none());
    assert!(holds.look(&asked(&smaller, &headers, None), now, 0).is_none());
    assert!(holds.look(&asked(&larger, &headers, None), now, 0).is_none());
    assert!(holds.look(&asked(&body, &headers, None), now, 0).is_some());
    let elsewhere = Asked {
        route: 1,
        ..asked(&body, &headers, None)
    };
    assert!(holds.look(&elsewhere, now, 0).is_none());
    let unplain = Bytes::from_static(b"\x08\x01").into();
    let unplain = asked(&unplain, &headers, None);
    assert!(!holds.put(&unplain, &Whose::All, refusal(now, None), now));
}

#[test]
fn a_caller_is_not_refused_for_another() {
    let (mut holds, now) = (Holds::new(), Instant::now());
    let name = HeaderName::from_static("x-caller");
    let headers = |who: &'static str| HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(who))]);
    let (one, two) = (headers("one"), headers("two"));
    let body = request("m", 4);
    let by_name = Whose::Header(name.clone());
    holds.put(&asked(&body, &one, None), &by_name, refusal(now, None), now);
    assert!(holds.look(&asked(&body, &one, None), now, 0).is_some());
    assert!(holds.look(&asked(&body, &two, None), now, 0).is_none());
    holds.put(&asked(&body, &one, None), &Whose::Connection, refusal(now, None), now);
    assert_eq!(
        holds.take_counts(now),
        vec![(42, 1)],
        "what was known by another measure is over"
    );
    assert!(
        holds.look(&asked(&body, &two, None), now, 0).is_some(),
        "of the same connection"
    );
    let other = Asked {
        connection: 8,
        ..asked(&body, &one, None)
    };
    assert!(holds.look(&other, now, 0).is_none());
}

#[test]
fn holds_are_bounded() {
    let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
    let put = |holds: &mut Holds, number: usize| {
        let body = request(&number.to_string(), 4);
        holds.put(&asked(&body, &headers, None), &Whose::All, refusal(now, None), now)
    };
    assert!((0..MOST_HOLDS).all(|number| put(&mut holds, number)));
    assert!(!put(&mut holds, MOST_HOLDS));
    assert!(put(&mut holds, 0), "that one is there");
    holds.take_counts(now + MOST);
    assert!(put(&mut holds, MOST_HOLDS));
}

#[test]
fn never_stays_never() {
    assert_eq!(spread(-1, 3), -1);
    let times: Vec<_> = (0..1000).map(|serial| spread(100, serial)).collect();
    assert!(*times.iter().min().unwrap() < 60 && *times.iter().max().unwrap() > 140);
}
