import { readFile } from 'fs/promises'

export interface Entry<T> {
  key: string
  value: T
  expires?: number
}

type Listener<T> = (entry: Entry<T>) => void

export class Store<T> {
  private readonly entries = new Map<string, Entry<T>>()
  private listeners: Listener<T>[] = []

  get(key: string): T | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined || (entry.expires ?? Infinity) < Date.now()) {
      return undefined
    }
    return entry.value
  }

  set(key: string, value: T, lifetime = 0): void {
    const entry: Entry<T> = { key, value }
    if (lifetime > 0) {
      entry.expires = Date.now() + lifetime
    }
    this.entries.set(key, entry)
    for (const listener of this.listeners) {
      listener(entry)
    }
  }

  onChange(listener: Listener<T>): () => void {
    this.listeners.push(listener)
    return () => {
      this.listeners = this.listeners.filter((other) => other !== listener)
    }
  }
}

export async function load(path: string): Promise<Store<unknown>> {
  const store = new Store<unknown>()
  const parsed = JSON.parse(await readFile(path, 'utf8'))
  Object.entries(parsed).forEach(([key, value]) => store.set(key, value))
  return store
}
