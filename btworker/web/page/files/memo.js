// A component that is drawn again only when one of some of its properties is another one.

import { Component, h } from "./preact.js";

export function memo(Inner, names) {
  return class extends Component {
    shouldComponentUpdate(next) {
      return names.some((name) => next[name] !== this.props[name]);
    }
    render() {
      return h(Inner, this.props);
    }
  };
}
