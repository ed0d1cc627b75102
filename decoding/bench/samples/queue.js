'use strict';

const { once } = require('events');

/** Holds tasks until there is room to run them. */
class TaskQueue {
  constructor(limit = 4) {
    this.limit = limit;
    this.waiting = [];
    this.running = 0;
  }

  push(task) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ task, resolve, reject });
      this.next();
    });
  }

  async next() {
    if (this.running >= this.limit || this.waiting.length === 0) {
      return;
    }
    const { task, resolve, reject } = this.waiting.shift();
    this.running += 1;
    try {
      resolve(await task());
    } catch (error) {
      reject(error);
    } finally {
      this.running -= 1;
      this.next();
    }
  }
}

function summarise(results) {
  const failed = results.filter((result) => result.status === 'rejected');
  return { total: results.length, failed: failed.length, text: `${failed.length} of ${results.length}` };
}

module.exports = { TaskQueue, summarise };
