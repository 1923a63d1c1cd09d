/* The page's WebSocket: subscribes, passes on messages, and reconnects with the last revision it has seen. */

// Milliseconds.
const FIRST_DELAY = 500; // doubled with each attempt, and random, so that pages do not reconnect all at once
const MAX_DELAY = 30000;
const SILENCE = 50000; // the server sends a ping every 20 s
const SIGNED_OUT = 4403;
const NOT_VISIBLE = 4404;

export class LiveSocket {
  /** `handlers`: live(), lost(sentence), message(data), signedOut(), refused(sentence). */
  constructor(watch, rev, handlers) {
    this.watch = watch;
    this.rev = rev;
    this.handlers = handlers;
    this.attempts = 0;
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
      this.expectMessage();
      this.send({ watch: this.watch, rev: this.rev, acks: true });
    };
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (socket === this.socket) this.closed(event.code);
    };
  }

  receive(data) {
    this.expectMessage();
    if (data.error) {
      this.sentence = data.error;
      return;
    }
    this.attempts = 0;
    this.handlers.live();
    this.handlers.message(data);
    if (typeof data.rev === "number") this.rev = data.rev;
    if (data.changes) this.send({ ack: data.rev });
  }

  send(data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(data));
  }

  /** Close the socket, and so reconnect, if nothing is received for SILENCE: a broken connection may stay open for minutes. */
  expectMessage() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket.close(), SILENCE);
  }

  closed(code) {
    clearTimeout(this.silence);
    if (code === SIGNED_OUT) return this.handlers.signedOut();
    if (code === NOT_VISIBLE) return this.handlers.refused(this.sentence);
    this.handlers.lost(this.sentence);
    const longest = Math.min(MAX_DELAY, FIRST_DELAY * 2 ** this.attempts);
    this.attempts += 1;
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
