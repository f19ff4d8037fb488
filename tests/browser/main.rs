//! The HTML page in a real browser: Chromium, driven through chromedriver (Debian: chromium-driver). Without these the test says so.

use fantoccini::actions::{InputSource, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What people write is shown as they wrote it.
const QUESTION: &str = r#"Is "a < b" & <script>document.title = 'wrong'</script>?"#;

/// An experiment of four cells and two seeds; its folder.
fn experiment(results: &Path) -> PathBuf {
    let grid = results.join("asked.yaml");
    let value = json!({
        "question": QUESTION,
        "base": root().join("experiments/bases/fashion-smoke.yaml"),
        "set": {
            "steps": 6, "objective": "vlb", "sampling.count": 12, "evaluation.held_out": 2, "evaluation.train": 2,
            "sampler": {"kind": "ddim", "steps": 4}
        },
        "grid": {"prediction": ["mu", "eps"], "variance": ["fixed-small", "fixed-large"]},
        "seeds": [0, 1],
        "metrics": ["fid", "inception-score", "bits-per-dim"],
        "claims": [{"sentence": "A claim of <nobody>", "metric": "bits-per-dim", "better": {"prediction": "eps", "variance": "fixed-large"}, "than": {"prediction": "mu"}}],
        "coding": {
            "source": "a table", "cell": {"prediction": "eps", "variance": "fixed-large"},
            "rows": [{"received": 1, "rate": "1.5", "rmse": "0.9"}, {"received": 0.5, "rate": "0.00000", "rmse": "30"}]
        },
        "paper": {"source": "a paper", "rows": [{"cell": {"prediction": "eps", "variance": "fixed-large"}, "says": {"fid": "3.17"}}]},
    });
    fs::write(&grid, value.to_string()).unwrap();
    assert_eq!(ddpm("ablate", &grid, results), Some(0));
    results.join("asked-fashion-smoke")
}

/// The exit code of the program.
fn ddpm(command: &str, grid: &Path, results: &Path) -> Option<i32> {
    let program = root().join("target/release/ddpm");
    let ran =
        Command::new(&program).arg(command).arg(grid).arg("--results").arg(results).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.unwrap_or_else(|e| panic!("{}, which `just test-page` builds: {e}", program.display())).code()
}

/// Writes an experiment's page anew; of one whose jobs are not all done, too.
fn report(grid: &Path, results: &Path) {
    assert!([Some(0), Some(3)].contains(&ddpm("report", grid, results)));
}

/// A command that only Chromium has.
#[derive(Debug)]
struct OfChromium {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for OfChromium {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// chromedriver, ended with the test.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // Its browsers, too.
        let _ = Command::new("kill").args(["--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// Starts chromedriver; none where there is none.
fn driver() -> Option<(Driver, String)> {
    let mut command = Command::new("chromedriver");
    let child = match command.arg("--port=0").stdout(Stdio::piped()).process_group(0).spawn() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        child => child.unwrap(),
    };
    let mut driver = Driver(child);
    let lines = BufReader::new(driver.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut ports = lines.filter_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok());
    let port = ports.next().expect("chromedriver says on which port it listens");
    Some((driver, format!("http://localhost:{port}")))
}

/// A page in the browser.
struct Page(Client);

impl Page {
    async fn open(driver: &str, path: &Path) -> Page {
        let mut capabilities = Capabilities::new();
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"];
        capabilities.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL", "performance": "ALL" }));
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(driver).await.unwrap();
        let page = Page(client);
        page.wide(1280).await;
        page.0.goto(&format!("file://{}", path.display())).await.unwrap();
        page
    }

    async fn chromium(&self, path: &'static str, body: Value) -> Value {
        self.0.issue_cmd(OfChromium { path, body }).await.unwrap()
    }

    async fn protocol(&self, command: &str, parameters: Value) {
        self.chromium("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    async fn wide(&self, width: u32) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.protocol("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn find(&self, css: &str) -> Element {
        self.0.find(Locator::Css(css)).await.unwrap_or_else(|e| panic!("{css}: {e}"))
    }

    async fn click(&self, css: &str) {
        // Away from the links that stay on top.
        self.value(&format!("document.querySelector(`{css}`).scrollIntoView({{block: 'center'}})")).await;
        self.find(css).await.click().await.unwrap_or_else(|e| panic!("{css}: {e}"));
    }

    async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// What an expression of the page's program is.
    async fn value(&self, expression: &str) -> Value {
        self.0.execute(&format!("return {expression}"), Vec::new()).await.unwrap_or_else(|e| panic!("{expression}: {e}"))
    }

    async fn is(&self, expression: &str, expected: Value) {
        let found = self.value(expression).await;
        assert_eq!(found, expected, "{expression}");
    }

    /// The numbers in a column of the table, from top to bottom.
    async fn column(&self, heading: &str) -> Vec<f64> {
        let column = format!("1 + shownColumns().findIndex((i) => page.columns[i].heading.plain === '{heading}')");
        let texts =
            self.value(&format!("[...document.querySelectorAll('#scores tbody tr')].map((row) => row.cells[{column}].innerText)")).await;
        let number = |text: &Value| text.as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        texts.as_array().unwrap().iter().map(number).collect()
    }

    async fn press(&self, css: &str, keys: &str) {
        self.value(&format!("document.querySelector('{css}').focus()")).await;
        self.0.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Leaves a picture of the page under `target/tmp`, to be looked at.
    async fn picture(&self, name: &str) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"));
        fs::write(path, self.0.screenshot().await.unwrap()).unwrap();
    }
}

fn is_rising(values: &[f64]) -> bool {
    values.len() > 1 && values.is_sorted()
}

/// A title that is no script; the table in any order, filtered and with chosen columns; copied as the files beside the page have it.
async fn the_table(page: &Page, folder: &Path) {
    assert_eq!((page.text("h1").await, page.0.title().await.unwrap()), (QUESTION.into(), "asked-fashion-smoke".into()));
    assert!(page.text(".claims").await.contains("A claim of <nobody>"));
    let beside = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let copied = |form: &'static str| async move { page.value(&format!("forms.{form}()")).await.as_str().unwrap().to_string() };
    assert!(beside("table.md").starts_with(&copied("Markdown").await), "{}", copied("Markdown").await);
    let latex = copied("LaTeX").await;
    let inner = |text: &str| text[text.find("\\toprule").unwrap()..text.find("\\bottomrule").unwrap()].to_string();
    assert_eq!(inner(&latex), inner(&beside("table.tex")));
    let csv = copied("CSV").await;
    assert!(csv.lines().count() == 5 && csv.starts_with("prediction,variance,FID ↓,"), "{csv}");

    let sort = |column: usize| format!("button[data-control='sort-{column}']");
    // Less is better of FID, and more of the inception score: at first the best is on top.
    page.click(&sort(2)).await;
    assert!(is_rising(&page.column("FID ↓").await));
    page.is("document.querySelectorAll('#scores [aria-sort]').length", json!(1)).await;
    page.click(&sort(2)).await;
    assert!(is_rising(&page.column("FID ↓").await.into_iter().rev().collect::<Vec<_>>()));
    page.press("button[data-control=\"sort-4\"]", &Key::Enter.to_string()).await;
    page.is("document.activeElement.dataset.control", json!("sort-4")).await;
    assert!(is_rising(&page.column("bits/dim ↓").await));
    page.click(&sort(3)).await;
    let falling = page.column("IS ↑").await;
    assert!(is_rising(&falling.iter().rev().copied().collect::<Vec<_>>()) && falling[0] > falling[3], "{falling:?}");
    page.is("document.querySelectorAll('#scores tr:first-child td.best').length > 0", json!(true)).await;
    page.is("document.querySelector('[aria-sort]').getAttribute('aria-sort')", json!("descending")).await;

    page.click("[data-filter='prediction=mu']").await;
    page.is(
        "shownRows().every((cell) => page.cells[cell].texts[0].plain === 'eps') && document.querySelectorAll('#scores tbody tr').length",
        json!(2),
    )
    .await;
    page.click("[data-filter='prediction=mu']").await;
    page.is("document.querySelectorAll('#scores tbody tr').length", json!(4)).await;
    assert!(page.text("#scores").await.contains("3.17"));
    page.0.find(Locator::XPath("//button[text()=\"the paper's\"]")).await.unwrap().click().await.unwrap();
    assert!(!page.text("#scores").await.contains("3.17"));
}

/// The folder of a cell's job of seed 0.
async fn folder_of(results: &Path, page: &Page, cell: usize) -> PathBuf {
    let of_seed = "[...document.querySelectorAll('.records tbody tr')].filter((row) => row.cells[1].textContent === '0')";
    let id = page.value(&format!("{of_seed}[{cell}].lastChild.textContent")).await;
    results.join("runs").join(id.as_str().unwrap())
}

/// A cell's samples are those that its job left, at every stop; flipped they take each other's place.
async fn the_samples(page: &Page, results: &Path) {
    page.is("page.pictures.real[0]", json!("fashion-mnist")).await;
    let left = image::open(folder_of(results, page, 0).await.join("reverse.png")).unwrap().to_rgb8();
    // The second image of the sheet.
    let seen = "(() => { const c = document.getElementById('sheet-a'), s = c.width / (8 * 28); return [...c.getContext('2d').getImageData(28 * s, 0, 28 * s, 28 * s).data]\
        .filter((_, i) => i % 4 === 0 && Math.floor(i / 4) % s === 0 && Math.floor(i / 4 / (28 * s)) % s === 0); })()";
    let of_stop = |stop: u32| json!((0..28 * 28).map(|i| left.get_pixel(28 * stop + i % 28, 28 + i / 28)[0]).collect::<Vec<u8>>());
    page.is("state.a", json!(0)).await;
    // The mouse marks what it points at.
    page.value("(compare.pointed = null, drawSheets())").await;
    page.is(seen, of_stop(4)).await;
    assert!(page.text("#compare figcaption").await.starts_with("A mu, fixed-small: samples"));
    page.press("#along", &Key::Home.to_string()).await;
    page.is(seen, of_stop(0)).await;
    assert!(page.text("#compare figcaption").await.contains("predicted x₀ at t = 40"));
    page.press("#along", &Key::End.to_string()).await;

    let shown = "['a', 'b'].map((side) => document.getElementById(`sheet-${side}`).offsetParent !== null)";
    page.is(shown, json!([true, true])).await;
    page.press("body", "f").await;
    page.is(shown, json!([false, true])).await;
    page.press("body", "f").await;
    page.is(shown, json!([true, false])).await;
    page.click("#stack").await;
    page.is(shown, json!([true, true])).await;
    // What differs, and nothing else.
    page.click("tr[data-cell='1'] [title='Compare as B']").await;
    let differences = page.text("#differences table").await;
    assert!(differences.contains("diffusion.variance") && !differences.contains("diffusion.prediction"), "{differences}");
    assert!(differences.contains("fixed-small fixed-large"), "{differences}");
}

/// Values are read with the mouse and with the keyboard; a cell that is switched off is gone from all charts.
async fn the_charts(page: &Page) {
    let css = "#chart-loss-per-t .u-over";
    page.value(&format!("document.querySelector('{css}').scrollIntoView({{block: 'center'}})")).await;
    let over = page.find(css).await;
    let moves =
        |x| MouseActions::new("mouse".into()).then(PointerAction::MoveToElement { element: over.clone(), duration: None, x, y: 0. });
    page.0
        .perform_actions(moves(-10.).then(PointerAction::MoveToElement { element: over.clone(), duration: None, x: 5., y: 3. }))
        .await
        .unwrap();
    let tip = page.text("#chart-loss-per-t .tip").await;
    assert!(tip.starts_with("t ") && tip.lines().count() == 5 && tip.contains(" to "), "{tip}");
    page.click("[data-toggle='0']").await;
    page.is("page.charts.length === plots.length && plots.every(({chart, plot}) => chart.lines.every((line, i) => plot.series[1 + 3 * i].show === (line.cells.length > 1 || line.cells[0] !== 0)))", json!(true)).await;
    let shown = "plots.flatMap(({chart, plot}) => chart.lines.filter((_, i) => plot.series[1 + 3 * i].show)).length";
    for _ in 0..2 {
        page.0.find(Locator::XPath("//button[text()='none']")).await.unwrap().click().await.unwrap();
        page.is(shown, json!(0)).await;
        page.0.find(Locator::XPath("//button[text()='all']")).await.unwrap().click().await.unwrap();
        page.is(&format!("{shown} === page.charts.flatMap((chart) => chart.lines).length"), json!(true)).await;
    }
    page.click("[data-toggle='0']").await;
    page.press("#chart-loss-per-t .plot", &Key::Right.to_string()).await;
    let heard = page.value("document.querySelector('#chart-loss-per-t .heard').textContent").await;
    assert!(heard.as_str().unwrap().starts_with("t 1: mu, fixed-large "), "{heard}");
    // What was published is read with it, where it stands.
    let heard = || page.value("document.querySelector('#chart-coding-distortion .heard').textContent");
    page.press("#chart-coding-distortion .plot", &Key::End.to_string()).await;
    assert!(heard().await.as_str().unwrap().ends_with("; a table: eps, fixed-large: 0.9"), "{}", heard().await);
    page.press("#chart-coding-distortion .plot", &Key::Left.to_string()).await;
    assert!(!heard().await.as_str().unwrap().contains("a table"), "{}", heard().await);
    page.is("page.charts.filter((chart) => chart.published).map((chart) => chart.published[1].x.length)", json!([2, 1, 1])).await;
    // Every chart is drawn, whatever the ends of its axes.
    page.is("plots.every(({ into }) => into.querySelector('canvas').width > 200)", json!(true)).await;
    let lines = "(() => {
        const low = 10 ** (20 * Math.random() - 12), top = low * 10 ** (8 * Math.random() ** 2), lines = logLines(low, top);
        const good = lines.length > 1 && lines.length < 100 && lines.every((at, i) => at >= low * (1 - 1e-12) && at <= top * (1 + 1e-12) && !(at <= lines[i - 1]));
        return good ? null : [low, top, lines];
    })()";
    page.is(&format!("Array.from({{ length: 2000 }}, () => {lines}).filter((wrong) => wrong)"), json!([])).await;
}

/// No scrolling to the side at either width; other colours in the dark; nothing to press in print.
async fn the_looks(page: &Page) {
    page.value("scrollTo(0, 0)").await;
    for width in [390, 1280] {
        page.wide(width).await;
        page.picture(&width.to_string()).await;
        page.is("document.documentElement.scrollWidth <= innerWidth", json!(true)).await;
    }
    let paper = "getComputedStyle(document.body).backgroundColor";
    page.is(paper, json!("rgb(255, 255, 255)")).await;
    page.protocol("Emulation.setEmulatedMedia", json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] })).await;
    page.is(paper, json!("rgb(21, 23, 26)")).await;
    page.picture("dark").await;
    page.protocol("Emulation.setEmulatedMedia", json!({ "media": "print", "features": [] })).await;
    page.is("['nav', '#table-controls', '#along'].every((css) => document.querySelector(css).offsetParent === null)", json!(true)).await;
    page.protocol("Emulation.setEmulatedMedia", json!({ "media": "", "features": [] })).await;
}

#[test]
fn the_page_does_what_it_shows() {
    let Some((_driver, address)) = driver() else {
        // Past the harness, which keeps what passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no chromedriver here, so the HTML page was not opened in a browser");
        return;
    };
    let results = tempfile::tempdir().unwrap();
    let folder = experiment(results.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let page = Page::open(&address, &folder.join("index.html")).await;
        the_table(&page, &folder).await;
        the_samples(&page, results.path()).await;
        the_charts(&page).await;
        the_looks(&page).await;
        let log = |kind| page.chromium("se/log", json!({ "type": kind }));
        // That this test reads pixels again and again is remarked upon; nothing else may be.
        let console = log("browser").await;
        let said: Vec<&Value> = console.as_array().unwrap().iter().filter(|line| line["source"] != "rendering").collect();
        assert!(said.is_empty(), "{said:?}");
        let requests = log("performance").await.to_string();
        let asked: Vec<&str> = requests.split(r#"\"documentURL\":\""#).skip(1).filter_map(|rest| rest.split("\\\"").next()).collect();
        assert!(!asked.is_empty() && asked.iter().all(|url| url.starts_with("file:") || url.starts_with("data:")), "{asked:?}");
        assert!(!requests.contains(r#"\"url\":\"http"#), "a request has left the page");
        // A job without samples has nobody else's: what is there is shown, what is not is said.
        let gone = "A mu, fixed-large: its job has left no samples that this page can show";
        fs::remove_file(folder_of(results.path(), &page, 1).await.join("reverse.png")).unwrap();
        report(&results.path().join("asked.yaml"), results.path());
        page.0.refresh().await.unwrap();
        page.click("tr[data-cell='1'] [data-control='a-1']").await;
        assert_eq!(page.text("#compare figcaption").await, gone);
        page.is(
            "document.getElementById('sheet-a').offsetParent === null && document.getElementById('sheet-b').offsetParent !== null",
            json!(true),
        )
        .await;
        // One cell, and nothing of it yet.
        let bare = results.path().join("bare.yaml");
        fs::write(&bare, format!("question: q\nbase: {}\ngrid: {{}}\n", root().join("experiments/bases/fashion-smoke.yaml").display()))
            .unwrap();
        report(&bare, results.path());
        page.0.goto(&format!("file://{}", results.path().join("bare-fashion-smoke/index.html").display())).await.unwrap();
        assert!(page.text("header").await.contains("0 of 1 jobs") && page.text("#compare").await.contains("no samples"));
        assert_eq!(page.value("plots.length").await, json!(4));
        assert_eq!(log("browser").await, json!([]));
        // And the page of all experiments leads to each.
        page.0.goto(&format!("file://{}", results.path().join("index.html").display())).await.unwrap();
        assert_eq!(page.0.find_all(Locator::Css("h2 a")).await.unwrap().len(), 2);
        page.click("h2 a").await;
        assert_eq!(page.text("h1").await, QUESTION);
        page.0.clone().close().await.unwrap();
    });
}
