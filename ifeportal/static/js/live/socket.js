/* The page's socket: says what it watches, hands on what comes, and comes back by itself with the last revision seen. */

const FIRST_WAIT = 500; // milliseconds
const LONGEST_WAIT = 30000;
const SILENCE = 50000; // the server gives a sign of life every 20 s
const SIGNED_OUT = 4403;
const NOT_VISIBLE = 4404;

export class LiveSocket {
  /** `handlers`: live(), lost(sentence), message(data), signedOut(), refused(sentence). */
  constructor(watch, rev, handlers) {
    this.watch = watch;
    this.rev = rev;
    this.handlers = handlers;
    this.tries = 0;
    this.sentence = "";
    this.wake = () => this.reconnectNow();
    addEventListener("online", this.wake);
    document.addEventListener("visibilitychange", this.wake);
    this.open();
  }

  open() {
    const address = new URL("/ws/live/", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.socket = socket;
    this.sentence = "";
    socket.onopen = () => {
      this.listenFor(SILENCE);
      this.send({ watch: this.watch, rev: this.rev, acks: true });
    };
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (socket === this.socket) this.closed(event.code);
    };
  }

  take(data) {
    this.listenFor(SILENCE);
    if (data.error) {
      this.sentence = data.error;
      return;
    }
    this.tries = 0;
    this.handlers.live();
    this.handlers.message(data);
    if (typeof data.rev === "number") this.rev = data.rev;
    if (data.changes) this.send({ ack: data.rev });
  }

  send(data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(data));
  }

  listenFor(milliseconds) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket.close(), milliseconds);
  }

  closed(code) {
    clearTimeout(this.silence);
    if (code === SIGNED_OUT) return this.handlers.signedOut();
    if (code === NOT_VISIBLE) return this.handlers.refused(this.sentence);
    this.handlers.lost(this.sentence);
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.tries);
    this.tries += 1;
    this.retry = setTimeout(() => this.open(), 200 + Math.random() * longest);
  }

  reconnectNow() {
    if (document.hidden || this.socket.readyState !== WebSocket.CLOSED || !this.retry) return;
    clearTimeout(this.retry);
    this.open();
  }

  end() {
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.wake);
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    this.socket.onclose = null;
    this.socket.close();
  }
}
