//! The console in a real browser, over a real API server with a thousand views in every phase.
//!
//! It has an API server of its own, whose definitions let status hold any field: no operator runs, statuses are planted. With
//! `FEATUREMILL_PICTURES=docs/images` it writes the pictures of the documentation.

mod planted;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crds::FeatureView;
use e2e::browser::{Browser, Screen};
use e2e::control_plane::ControlPlane;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt as _};
use operator::metrics::Metrics;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::PATIENCE;

const VIEWS: usize = 1_000;
const WIDE: Screen = Screen { width: 1440, height: 900, scale: 1.25, dark: false };
const PHONE: Screen = Screen { width: 390, height: 844, scale: 2.0, dark: false };

/// The most that a page with all views may take until its list is drawn, in milliseconds, beside whatever else runs.
const DRAWN: f64 = 5_000.0;

/// A console over an API server.
pub struct Console {
    pub url: String,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Console {
    /// Starts one that shows the views of a namespace, or all.
    pub async fn start(client: Client, namespace: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let figures = Metrics::register(&mut Registry::default()).lag;
        let task = tokio::spawn(operator::console::serve(listener, client, namespace, figures, shutdown.clone()));
        Self { url, shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it does not stop").unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_views_in_a_browser() {
    shell::redis::install_crypto();
    let plane = tokio::task::spawn_blocking(ControlPlane::start).await.unwrap().unwrap_or_else(|e| panic!("{e}"));
    let client = Client::try_from(plane.config()).unwrap();
    install(&client).await;
    let console = Console::start(client.clone(), None).await;
    let mut browser = Browser::start().unwrap_or_else(|error| panic!("{error}"));
    browser.screen(WIDE).unwrap();

    says_what_to_do_without_views(&mut browser, &console);
    planted::plant(&client, VIEWS).await;
    draws_all(&mut browser, &console);
    goes_by_keys(&mut browser);
    finds_and_filters(&mut browser);
    shows_a_view_whole(&mut browser, &console);
    leads_to_the_runbook(&mut browser);
    pictures(&mut browser, &console);
    follows(&mut browser, &client).await;
    tells_no_secrets(&console).await;
    assert_eq!(browser.complaints, Vec::<String>::new(), "the page's console says something");

    // From here on what is asked for may be away, of which the browser itself complains.
    forgets(&mut browser, &client).await;
    console.stop().await;
    browser.until("document.querySelector('#problem').innerText.includes('does not answer')").unwrap();
    assert!(number(&mut browser, "document.querySelectorAll('.row').length") > 0.0, "what was known is still shown");
}

/// The definitions, with a status in which nothing is refused: other versions may know fields that this one does not.
async fn install(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for (_, definition) in crds::definitions() {
        let name = definition.name_any();
        let mut definition = serde_json::to_value(definition).unwrap();
        let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["status"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        api.patch(&name, &PatchParams::apply("tests"), &Patch::Apply(&definition)).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.expect("the definition is never established").unwrap();
    }
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let found = browser.until(&format!("document.querySelector({selector:?})?.innerText")).unwrap();
    found.as_str().unwrap().to_owned()
}

fn number(browser: &mut Browser, expression: &str) -> f64 {
    browser.evaluate(expression).unwrap().as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
}

fn says_what_to_do_without_views(browser: &mut Browser, console: &Console) {
    browser.open(&console.url).unwrap();
    browser.until("document.querySelector('#empty').innerText.includes('No views yet')").unwrap();
    assert!(text(browser, "#empty").contains("kubectl apply -f"));
    picture(browser, "console-empty-not-kept");
}

fn draws_all(browser: &mut Browser, console: &Console) {
    browser.until(&format!("document.querySelector('#count').innerText === '{} views'", thousands(VIEWS))).unwrap();
    browser.open(&console.url).unwrap();
    browser.until("document.querySelectorAll('.row').length > 5 && document.querySelector('.river')").unwrap();
    let drawn = number(browser, "performance.now()");
    let nodes = number(browser, "document.querySelectorAll('#list *').length");
    let again = number(
        browser,
        "(() => { const t = performance.now(); const s = document.querySelector('#search'); \
         s.value = 'a'; s.dispatchEvent(new Event('input')); s.value = ''; s.dispatchEvent(new Event('input')); \
         document.body.offsetHeight; return (performance.now() - t) / 2; })()",
    );
    println!("{VIEWS} views: drawn after {drawn:.0} ms, filtered in {again:.1} ms, {nodes} elements in the list");
    assert!(drawn < DRAWN && nodes < 1_200.0, "drawn after {drawn} ms with {nodes} elements");
    // The worst first, each with a shape that has a name.
    let first =
        browser.evaluate("document.querySelector('.row[aria-posinset=\"1\"]').getAttribute('aria-label')").unwrap();
    assert!(first.as_str().unwrap().contains("Critical"), "{first}");
    let shapes =
        browser.evaluate("new Set([...document.querySelectorAll('.chip path')].map(p => p.getAttribute('d'))).size");
    assert_eq!(shapes.unwrap(), json!(6), "every severity has a shape of its own");
    assert_eq!(
        browser.evaluate("document.querySelector('.row').getAttribute('aria-setsize')").unwrap(),
        json!(VIEWS.to_string())
    );
}

fn goes_by_keys(browser: &mut Browser) {
    let active = "document.getElementById(document.querySelector('#list').getAttribute('aria-activedescendant'))";
    let place = format!("Number({active}.getAttribute('aria-posinset'))");
    for (key, at) in
        [("j", 2.0), ("j", 3.0), ("k", 2.0), ("ArrowDown", 3.0), ("ArrowUp", 2.0), ("G", 1_000.0), ("g", 1.0)]
    {
        browser.press(key).unwrap();
        assert!((number(browser, &place) - at).abs() < 0.1, "after {key}");
        let seen = browser.evaluate(&format!("(() => {{ const r = {active}.getBoundingClientRect(), l = \
             document.querySelector('#list').getBoundingClientRect(); return r.top >= l.top - 1 && r.bottom <= l.bottom + 1; }})()"));
        assert_eq!(seen.unwrap(), json!(true), "after {key} the line is out of sight");
    }
    let name = browser.evaluate(&format!("{active}.querySelector('b').innerText")).unwrap();
    browser.press("Enter").unwrap();
    browser.until(&format!("document.querySelector('#title span')?.innerText === {name}")).unwrap();
    browser.until("document.activeElement.id === 'title'").unwrap();
    browser.press("Escape").unwrap();
    browser
        .until("document.querySelector('#title').innerText === 'The cluster' && document.activeElement.id === 'list'")
        .unwrap();
    browser.press("?").unwrap();
    browser.until("document.querySelector('#dialog').open && document.querySelector('#dialog').innerText.includes('next view')").unwrap();
    browser.press("Escape").unwrap();
    browser.until("!document.querySelector('#dialog').open").unwrap();
    // What has the focus is outlined, by default and in the page's own colours.
    browser.press("Tab").unwrap();
    let outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle").unwrap();
    assert_eq!(outline, json!("solid"));
}

fn finds_and_filters(browser: &mut Browser) {
    let shown = |browser: &mut Browser, what: &str| {
        browser.until(&format!("document.querySelector('#count').innerText === '{what}'")).unwrap();
    };
    browser.press("/").unwrap();
    browser.until("document.activeElement.id === 'search'").unwrap();
    for key in "shopper-1 ns:shop".chars() {
        browser.press(&key.to_string()).unwrap();
    }
    browser
        .until(
            "document.querySelectorAll('.row').length > 0 && [...document.querySelectorAll('.row')].every(r => \
         r.innerText.includes('shopper-1') && r.querySelector('.ns').innerText === 'shop')",
        )
        .unwrap();
    browser.press("Escape").unwrap();
    shown(browser, "1,000 views");
    browser.press("1").unwrap();
    browser
        .until(
            "document.querySelector('.chip.critical').getAttribute('aria-pressed') === 'true' && \
         [...document.querySelectorAll('.row')].every(r => r.classList.contains('critical'))",
        )
        .unwrap();
    browser.press("1").unwrap();
    browser.evaluate("(() => { const s = document.querySelector('#phase'); s.value = 'Soaking'; s.dispatchEvent(new Event('change')); })()").unwrap();
    browser.until("[...document.querySelectorAll('.row .phase')].every(p => p.innerText === 'Soaking')").unwrap();
    browser.evaluate("(() => { const s = document.querySelector('#search'); s.value = 'nobody'; s.dispatchEvent(new Event('input')); })()").unwrap();
    browser
        .until("!document.querySelector('#empty').hidden && document.querySelector('#empty').innerText.includes('No view is like that')")
        .unwrap();
    browser.press("Escape").unwrap();
    shown(browser, "1,000 views");
}

fn shows_a_view_whole(browser: &mut Browser, console: &Console) {
    browser.open(&format!("{}/#/{}", console.url, planted::DIFFERS)).unwrap();
    browser.until("document.querySelector('[data-section=events] li, [data-section=events] p')").unwrap();
    let drawn = browser.evaluate("document.querySelector('.flow').textContent").unwrap();
    let detail = format!("{} {drawn}", text(browser, "#detail"));
    for words in [
        "spend_30d",
        "93.10 % equal",
        "0.0612",
        "#5f3a91c2",
        "118.40",
        "131.90",
        "Comparison failed",
        "2 of 2 ready",
        "clickstream",
        "Compare\nstopped",
        "Sum of price where event_type = 'purchase', over 30d",
        "A person is needed",
        "records to read",
        "None that the API server still has",
    ] {
        assert!(detail.contains(words), "{words:?} is not in {detail}");
    }
    assert!(number(browser, "document.querySelectorAll('.flow .station').length") >= 5.0);
    assert!(number(browser, "document.querySelectorAll('.histogram rect.new').length") >= 10.0);

    // What nobody measures is not shown as a number.
    browser.open(&format!("{}/#/{}", console.url, planted::UNMEASURED)).unwrap();
    assert!(text(browser, "[data-section=lag]").contains("Not measured"));
    browser.open(&format!("{}/#/{}", console.url, planted::SOAKS)).unwrap();
    let generations = text(browser, "[data-section=generations]");
    assert!(generations.contains("Published") || generations.contains("served"), "{generations}");
    browser.until("/\\d+ h( \\d+ m)? left/.test(document.querySelector('[data-section=rollout]').innerText)").unwrap();
    browser.open(&format!("{}/#/shop/nobody", console.url)).unwrap();
    browser.until("document.querySelector('#detail').innerText.includes('There is no such view')").unwrap();
}

fn leads_to_the_runbook(browser: &mut Browser) {
    let hash = format!("location.hash = '#/{}'", planted::DIFFERS);
    browser.evaluate(&hash).unwrap();
    browser.until("document.querySelector('.alert .link')").unwrap();
    browser.evaluate("document.querySelector('.alert .link').click()").unwrap();
    browser.until("document.querySelector('#dialog').open && document.querySelector('#dialog-body table')").unwrap();
    assert_eq!(text(browser, "#dialog-title"), "A rollout that stands still");
    assert!(text(browser, "#dialog-body").contains("expectedChanges"));
    picture(browser, "console-runbook");
    browser.press("Escape").unwrap();
    browser.until("!document.querySelector('#dialog').open").unwrap();
}

/// Changes show without a reload; what is looked at stays.
async fn follows(browser: &mut Browser, client: &Client) {
    browser.screen(WIDE).unwrap();
    let (namespace, name) = planted::DIFFERS.split_once('/').unwrap();
    let api = Api::<FeatureView>::namespaced(client.clone(), namespace);
    browser.evaluate(&format!("location.hash = '#/{}'", planted::DIFFERS)).unwrap();
    browser.until("document.querySelector('#title small')").unwrap();
    let patch = Patch::Merge(json!({"status": {"phase": "Aborted"}}));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    browser.until("document.querySelector('#detail .pill')?.innerText === 'Aborted'").unwrap();
}

/// What was deleted goes, and is said to be gone where it is looked at.
async fn forgets(browser: &mut Browser, client: &Client) {
    let (namespace, name) = planted::DIFFERS.split_once('/').unwrap();
    let api = Api::<FeatureView>::namespaced(client.clone(), namespace);
    api.delete(name, &DeleteParams::default()).await.unwrap();
    browser
        .until(
            "document.querySelector('#detail').innerText.includes('There is no such view') && \
         document.querySelector('#count').innerText === '999 views'",
        )
        .unwrap();
}

async fn tells_no_secrets(console: &Console) {
    let url = console.url.clone();
    let ask = move |path: String| {
        let url = format!("{url}{path}");
        ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap()
    };
    let start = Instant::now();
    let (board, view) = tokio::task::spawn_blocking(move || {
        (ask("/api/board".to_owned()), ask(format!("/api/views/{}", planted::SOAKS)))
    })
    .await
    .unwrap();
    println!("the board is {} kB, answered in {:?}", board.len() / 1024, start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10) && board.len() < 1_000_000);
    for told in [board, view] {
        assert!(!told.contains("hunter2") && told.contains("s3://lake/"), "a credential, or no address at all");
        serde_json::from_str::<Value>(&told).unwrap();
    }
}

fn pictures(browser: &mut Browser, console: &Console) {
    let show = |browser: &mut Browser, screen: Screen, view: &str, name: &str| {
        browser.screen(screen).unwrap();
        browser.open("about:blank").unwrap();
        browser.open(&format!("{}/#/{view}", console.url)).unwrap();
        browser.until("document.querySelector('#title') && document.querySelectorAll('.row').length").unwrap();
        picture(browser, name);
    };
    show(browser, WIDE, "", "console");
    show(browser, Screen { dark: true, ..WIDE }, planted::REPLAYS, "console-rollout-dark");
    show(browser, Screen { height: 1180, ..WIDE }, planted::DIFFERS, "console-comparison");
    show(browser, PHONE, planted::SOAKS, "console-phone");
    // Nothing is wider than a phone.
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= innerWidth").unwrap(), json!(true));
}

/// Writes a picture, if they are asked for; those that end in `-not-kept` are only to be looked at.
pub fn picture(browser: &mut Browser, name: &str) {
    let Some(folder) = std::env::var_os("FEATUREMILL_PICTURES").map(PathBuf::from) else { return };
    // Tests run in the folder of their crate.
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let folder = if name.ends_with("-not-kept") { std::env::temp_dir() } else { folder };
    std::fs::create_dir_all(&folder).unwrap();
    browser.picture(&folder.join(format!("{name}.png"))).unwrap();
}

fn thousands(n: usize) -> String {
    if n < 1_000 { n.to_string() } else { format!("{},{:03}", n / 1_000, n % 1_000) }
}
